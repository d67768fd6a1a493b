"""Functions as reference/api.md §3.2 says.

Run by pytest.
Never runs one: the compiler is a fake, and there is no engine.
"""

from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from tests.control.conftest import HELLO, OTHER, Account, base64_of, code_of, hello
from tests.support import zips
from tests.support.queues import FakeQueue
from tests.support.refusals import refused
from tests.support.requesters import THE_ACCOUNT

from sesame.control.cleanup import live_packages
from sesame.control.code import CodeSource
from sesame.control.functions import Functions
from sesame.control.inputs import CodeInput, FunctionInput, LayerInput, Listing
from sesame.model import records
from sesame.model.function import InstanceLifecycleConfig, LifecycleHook

REFUSED_LATER = {
    "idle_timeout": (-1, 86_401, 2**70),
    "disable_inject_credentials": ("FOO", "none", "x" * 5000),
    "instance_isolation_mode": ("FOO", "share", "x" * 5000),
    "gpu_type": ("x" * 129,),
    "juice_fs_config": ({"a": "x" * 65_536},),
    "polar_fs_config": ({"a": "x" * 65_536},),
    "micro_sandbox_config": ({"a": "x" * 65_536},),
}
LAYER = "acs:fc:cn-hangzhou:123:layers/flask/versions/1"


@pytest.fixture(autouse=True)
async def service(account: Account) -> None:
    await account.service("s")


async def test_a_function_has_the_defaults_of_the_api(account: Account) -> None:
    record = await account.functions.create("s", hello(), by=THE_ACCOUNT)
    function = record.document
    assert (function.function_name, function.runtime, function.handler) == ("f", "python3", "index.handler")
    assert (function.timeout, function.initialization_timeout, function.memory_size) == (3, 3, 128)
    assert (function.instance_type, function.instance_concurrency, function.disk_size) == ("e1", 1, 512)
    assert function.environment_variables == {}
    assert function.initializer == ""
    assert len(function.function_id) == 36
    assert function.package.size_bytes == len(HELLO)
    assert account.packages.archive(function.package).read_bytes() == HELLO
    assert account.compiled == ["python3"]
    assert await account.functions.get("s", "f") == record
    assert await account.functions.get("s", "f", "LATEST") == record


async def test_update_replaces_what_was_sent(account: Account) -> None:
    created = await account.functions.create(
        "s", hello(environment_variables={"a": "1", "b": "2"}, description="d"), by=THE_ACCOUNT
    )
    updated = await account.functions.update(
        "s", "f", FunctionInput(environment_variables={"c": "3"}, timeout=60), by=THE_ACCOUNT
    )
    assert updated.document.environment_variables == {"c": "3"}
    assert updated.document.timeout == 60
    assert updated.document.description == "d"
    assert updated.document.package == created.document.package
    assert updated.etag != created.etag
    updated = await account.functions.update("s", "f", FunctionInput(code=code_of(OTHER)), by=THE_ACCOUNT)
    assert updated.document.environment_variables == {"c": "3"}
    assert updated.document.package.checksum != created.document.package.checksum
    cleared = await account.functions.update("s", "f", FunctionInput(environment_variables={}), by=THE_ACCOUNT)
    assert cleared.document.environment_variables == {}
    assert cleared.document.function_id == created.document.function_id


async def test_the_runtime_may_change_and_the_code_is_compiled_for_it(account: Account) -> None:
    await account.functions.create("s", hello(), by=THE_ACCOUNT)
    await account.functions.update("s", "f", FunctionInput(runtime="python2.7"), by=THE_ACCOUNT)
    assert account.compiled == ["python3", "python2.7"]
    with refused("InvalidArgument", match=r"Runtime is set to an invalid value .*actual: '10'"):
        await account.functions.update("s", "f", FunctionInput(runtime="10", code=code_of(OTHER)), by=THE_ACCOUNT)
    assert (await account.functions.get("s", "f")).document.runtime == "python2.7"


@pytest.mark.parametrize("field", list(REFUSED_LATER))
async def test_settings_of_the_later_api_have_bounds(account: Account, field: str) -> None:
    await account.functions.create("s", hello(), by=THE_ACCOUNT)
    for value in REFUSED_LATER[field]:
        with refused("InvalidArgument", match="is set to an invalid value"):
            await account.functions.update("s", "f", FunctionInput(later={field: value}), by=THE_ACCOUNT)


@pytest.mark.parametrize("field", ["custom_container_config", "custom_runtime_config", "custom_dns"])
async def test_settings_that_are_kept_as_sent_have_a_size(account: Account, field: str) -> None:
    with refused("InvalidArgument", match="at most 65536 bytes of JSON"):
        await account.functions.create("s", hello(runtime="custom", **{field: {"a": "x" * 65_536}}), by=THE_ACCOUNT)
    with refused("InvalidArgument", match=r"Layers is set to an invalid value .*at most 256 characters"):
        await account.functions.create(
            "s", hello(runtime="custom", layers=(LAYER.replace("123", "1" * 300),)), by=THE_ACCOUNT
        )


async def test_settings_of_foreign_runtimes_are_kept(account: Account) -> None:
    sent = {
        "runtime": "java11",
        "ca_port": 9000,
        "custom_runtime_config": {"command": ["./bootstrap"], "args": []},
        "custom_health_check_config": {"httpGetUrl": "/"},
        "custom_dns": {"nameServers": ["8.8.8.8"], "searches": [], "dnsOptions": []},
        "instance_concurrency": 20,
        "instance_soft_concurrency": 10,
        "instance_type": "c1",
        "gpu_memory_size": 8192,
        "cpu": 0.35,
        "disk_size": 10240,
        "layers": (LAYER,),
        "instance_lifecycle_config": InstanceLifecycleConfig(pre_stop=LifecycleHook("index.stop", 90)),
    }
    function = (await account.functions.create("s", hello(**sent), by=THE_ACCOUNT)).document
    for name, value in sent.items():
        assert getattr(function, name) == value, name
    emptied = await account.functions.update(
        "s",
        "f",
        FunctionInput(
            custom_runtime_config={},
            layers=(),
            instance_type="",
            instance_lifecycle_config=InstanceLifecycleConfig(pre_stop=LifecycleHook("", 3)),
        ),
        by=THE_ACCOUNT,
    )
    assert emptied.document.custom_runtime_config is None
    assert emptied.document.layers == ()
    assert emptied.document.instance_type == "e1"
    assert emptied.document.instance_lifecycle_config is None
    assert emptied.document.custom_dns == sent["custom_dns"]


async def test_an_image_needs_no_code(account: Account) -> None:
    sent = FunctionInput(
        function_name="f", runtime="custom-container", handler="h", custom_container_config={"image": "registry/x"}
    )
    record = await account.functions.create("s", sent, by=THE_ACCOUNT)
    assert record.document.custom_container_config == {"image": "registry/x"}
    with refused("InvalidArgument", match="container image"):
        await account.functions.package("s", "f")
    await account.functions.update(
        "s", "f", FunctionInput(runtime="custom-container", timeout=5, code=CodeInput()), by=THE_ACCOUNT
    )
    assert live_packages(account.catalog) == set()


async def test_an_update_with_an_empty_code_keeps_the_code(account: Account) -> None:
    """As Terraform's provider sends it. `ca_port` of 0 is none, as clients in Go send it."""
    made = await account.functions.create("s", hello(runtime="custom", ca_port=0), by=THE_ACCOUNT)
    assert made.document.ca_port is None
    sent = FunctionInput(code=CodeInput(), description="d", ca_port=0)
    kept = await account.functions.update("s", "f", sent, by=THE_ACCOUNT)
    assert (kept.document.package, kept.document.description) == (made.document.package, "d")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"function_name": ""}, "FunctionName is required but not provided"),
        ({"function_name": "9f"}, "FunctionName is set to an invalid value"),
        ({"function_name": "f" * 65}, "FunctionName is set to an invalid value"),
        ({"runtime": ""}, "Runtime is required but not provided"),
        ({"runtime": "10"}, r"Runtime is set to an invalid value \(allowed: python2.7 | .*, actual: '10'\)"),
        ({"handler": ""}, "Handler is required but not provided"),
        ({"handler": "h" * 129}, "Handler is set to an invalid value"),
        ({"initializer": "h" * 129}, "Initializer is set to an invalid value"),
        ({"description": "d" * 257}, "Description is set to an invalid value"),
        ({"timeout": 0}, r"Timeout is set to an invalid value \(allowed: 1 to 86400, actual: '0'\)"),
        ({"timeout": 86401}, "Timeout"),
        ({"initialization_timeout": 0}, "InitializationTimeout"),
        ({"initialization_timeout": 301}, "InitializationTimeout"),
        ({"memory_size": 64}, "MemorySize is set to an invalid value"),
        ({"memory_size": 129}, "MemorySize .*steps of 64"),
        ({"memory_size": 32832}, "MemorySize"),
        ({"disk_size": 1024}, "DiskSize .*512 | 10240"),
        ({"instance_type": "e 1"}, "InstanceType"),
        ({"instance_concurrency": 0}, "InstanceConcurrency"),
        ({"instance_concurrency": 201}, "InstanceConcurrency"),
        ({"instance_soft_concurrency": 2}, "InstanceSoftConcurrency"),
        ({"ca_port": 70000}, "CAPort"),
        ({"gpu_memory_size": -1}, "GpuMemorySize"),
        ({"cpu": 0.07}, "CPU"),
        ({"cpu": 17.0}, "CPU"),
        ({"environment_variables": {"FC_X": "1"}}, "EnvironmentVariables .*actual: 'FC_X'"),
        ({"environment_variables": {"accessKeyID": "1"}}, "EnvironmentVariables .*actual: 'accessKeyID'"),
        ({"environment_variables": {"topic": "1"}}, "EnvironmentVariables"),
        ({"environment_variables": {"1a": "1"}}, "EnvironmentVariables .*actual: '1a'"),
        ({"environment_variables": {"_a": "1"}}, "EnvironmentVariables"),
        ({"environment_variables": {"a=b": "1"}}, "EnvironmentVariables"),
        ({"environment_variables": {"": "1"}}, "EnvironmentVariables"),
        ({"environment_variables": {"a": "\0"}}, "EnvironmentVariables .*NUL"),
        ({"environment_variables": {"a": "中" * 1366}}, "at most 4096 bytes in all, actual: '4099 bytes'"),
        ({"layers": ("nonsense",)}, "Layers is set to an invalid value"),
        ({"layers": tuple(LAYER[:-1] + str(n) for n in range(6))}, "at most 5 layers"),
        ({"layers": (LAYER, LAYER)}, "every layer once"),
        (
            {"instance_lifecycle_config": InstanceLifecycleConfig(pre_freeze=LifecycleHook("i.f", 91))},
            "InstanceLifecycleConfig.PreFreeze.Timeout",
        ),
        ({"code": CodeInput(oss_bucket_name="b")}, "Either ossBucketName/ossObjectName or zipFile must be set"),
        ({"code": CodeInput(zip_file="UEs=", oss_bucket_name="b", oss_object_name="o")}, "Either ossBucketName"),
        ({"code": CodeInput(zip_file="!!!")}, "not base64"),
        ({"code": CodeInput(zip_file="abc")}, "not base64"),
        ({"code": CodeInput(zip_file="aGVsbG8=")}, "not a zip archive"),
        ({"code": CodeInput(oss_bucket_name="10", oss_object_name="hello")}, "object 'hello' in bucket '10'"),
        ({"expected_checksum": "1"}, "checksum of the code package is '[0-9]+', but '1' was announced"),
    ],
)
async def test_bad_values_are_refused_and_leave_nothing(
    account: Account, changes: dict[str, Any], message: str
) -> None:
    with refused("InvalidArgument", match=message):
        await account.functions.create("s", hello(**changes), by=THE_ACCOUNT)
    assert account.catalog.count(records.FUNCTION, "s") == 0
    if "function_name" in changes or "" in changes.values():
        return
    before = await account.functions.create("s", hello(), by=THE_ACCOUNT)
    with refused("InvalidArgument", match=message):
        await account.functions.update("s", "f", FunctionInput(**{"code": code_of(HELLO)} | changes), by=THE_ACCOUNT)
    assert await account.functions.get("s", "f") == before


async def test_required_fields(account: Account) -> None:
    with refused("InvalidArgument", match="Either ossBucketName/ossObjectName or zipFile must be set"):
        await account.functions.create("s", hello(code=CodeInput()), by=THE_ACCOUNT)
    with refused("InvalidArgument", match="FunctionName is required"):
        await account.functions.create("s", FunctionInput(), by=THE_ACCOUNT)
    with refused("InvalidArgument", match="Runtime is required"):
        await account.functions.create("s", FunctionInput(function_name="f"), by=THE_ACCOUNT)
    with refused("InvalidArgument", match="Handler is required"):
        await account.functions.create("s", FunctionInput(function_name="f", runtime="python3"), by=THE_ACCOUNT)
    with refused("InvalidArgument", match="Either ossBucketName/ossObjectName or zipFile must be set"):
        await account.functions.create(
            "s", FunctionInput(function_name="f", runtime="python3", handler="a.b"), by=THE_ACCOUNT
        )


async def test_edges_that_are_allowed(account: Account) -> None:
    function = await account.functions.create(
        "s",
        hello(
            function_name="f" * 64,
            handler="nodot",
            timeout=86400,
            memory_size=32768,
            environment_variables={"a": "x" * 4095},
            code=CodeInput(zip_file="\r\n".join(base64_of(HELLO)[i : i + 76] for i in range(0, len(HELLO) * 2, 76))),
        ),
        by=THE_ACCOUNT,
    )
    assert function.document.handler == "nodot"


async def test_code_from_a_bucket(account: Account) -> None:
    account.objects["b", "k"] = OTHER
    record = await account.functions.create(
        "s", hello(code=CodeInput(oss_bucket_name="b", oss_object_name="k")), by=THE_ACCOUNT
    )
    package = await account.functions.package("s", "f")
    assert package == record.document.package
    assert account.packages.archive(package).read_bytes() == OTHER
    without = Functions(account.catalog, CodeSource(account.packages, None), FakeQueue(lambda: 0.0))
    with refused("InvalidArgument", match="no object storage is served here"):
        await without.create(
            "s", hello(function_name="g", code=CodeInput(oss_bucket_name="b", oss_object_name="k")), by=THE_ACCOUNT
        )


async def test_the_announced_checksum_may_be_right(account: Account) -> None:
    record = await account.functions.create("s", hello(), by=THE_ACCOUNT)
    checksum = record.document.package.checksum
    updated = await account.functions.update(
        "s", "f", FunctionInput(code=code_of(HELLO), expected_checksum=checksum), by=THE_ACCOUNT
    )
    assert updated.document.package.checksum == checksum
    await account.functions.update("s", "f", FunctionInput(timeout=4, expected_checksum=checksum), by=THE_ACCOUNT)


@pytest.mark.parametrize("code", [UNSET, CodeInput()])
async def test_a_checksum_without_code_is_that_of_the_code_that_stays(account: Account, code: Any) -> None:
    before = await account.functions.create("s", hello(), by=THE_ACCOUNT)
    sent = FunctionInput(timeout=4, code=code, expected_checksum="1")
    with refused("InvalidArgument", match="'1' was announced, but no code package was sent, and that of the function"):
        await account.functions.update("s", "f", sent, by=THE_ACCOUNT)
    assert await account.functions.get("s", "f") == before


async def test_an_outer_folder_is_told_for_code_that_we_run(account: Account) -> None:
    folder = code_of(zips.zip_of({"app/index.py": "def handler(event, context): pass\n"}))
    with refused("InvalidArgument", match="zip the content of the folder"):
        await account.functions.create("s", hello(code=folder), by=THE_ACCOUNT)
    await account.functions.create("s", hello(code=folder, handler="app.index.handler"), by=THE_ACCOUNT)
    await account.functions.create("s", hello(function_name="g", code=folder, runtime="nodejs10"), by=THE_ACCOUNT)
    await account.layers.create_version("flask", LayerInput(code=code_of(OTHER)), by=THE_ACCOUNT)
    await account.functions.create("s", hello(function_name="h", code=folder, layers=(LAYER,)), by=THE_ACCOUNT)
    with refused("InvalidArgument", match="zip the content of the folder"):
        await account.functions.update("s", "f", FunctionInput(code=folder, handler="index.handler"), by=THE_ACCOUNT)


async def test_conflicts_and_absences(account: Account) -> None:
    await account.functions.create("s", hello(), by=THE_ACCOUNT)
    with refused("FunctionAlreadyExists", match="function 'f' already exists in service 's'") as conflict:
        await account.functions.create("s", hello(), by=THE_ACCOUNT)
    assert conflict.value.status == 409
    with refused("ServiceNotFound", match="service 'x' does not exist"):
        await account.functions.create("x", hello(), by=THE_ACCOUNT)
    for step in (
        account.functions.get("s", "x"),
        account.functions.update("s", "x", FunctionInput(), by=THE_ACCOUNT),
        account.functions.delete("s", "x"),
        account.functions.package("s", "x"),
    ):
        with refused("FunctionNotFound", match="function 'x' does not exist in service 's'"):
            await step
    for step in (account.functions.get("x", "f"), account.functions.delete("x", "f")):
        with refused("ServiceNotFound"):
            await step
    with refused("ServiceNotFound"):
        await account.functions.list("x", Listing())
    with refused("VersionNotFound", match="version '7' of service 's' does not exist"):
        await account.functions.get("s", "f", "7")


async def test_if_match(account: Account) -> None:
    record = await account.functions.create("s", hello(), by=THE_ACCOUNT)
    with refused("PreconditionFailed"):
        await account.functions.update("s", "f", FunctionInput(timeout=4), "invalid etag", by=THE_ACCOUNT)
    with refused("PreconditionFailed"):
        await account.functions.delete("s", "f", "invalid etag")
    assert await account.functions.get("s", "f") == record
    await account.functions.delete("s", "f", record.etag)
    with refused("FunctionNotFound"):
        await account.functions.get("s", "f")


async def test_a_wrong_if_match_unpacks_nothing(account: Account, tmp_path: Path) -> None:
    await account.functions.create("s", hello(), by=THE_ACCOUNT)
    before = sorted(path.name for path in (tmp_path / "packages").iterdir())
    with refused("PreconditionFailed"):
        await account.functions.update("s", "f", FunctionInput(code=code_of(OTHER)), "invalid etag", by=THE_ACCOUNT)
    assert sorted(path.name for path in (tmp_path / "packages").iterdir()) == before


async def test_lists_are_of_one_service(account: Account) -> None:
    await account.service("t")
    for name in ("b", "a", "c"):
        await account.functions.create("s", hello(function_name=name), by=THE_ACCOUNT)
    await account.functions.create("t", hello(function_name="other"), by=THE_ACCOUNT)
    page = await account.functions.list("s", Listing(limit=2), "LATEST")
    assert [record.name for record in page.items] == ["a", "b"]
    assert page.next_token == "c"
    assert await account.functions.list("t", Listing(prefix="x")) == await account.functions.list(
        "t", Listing(start_key="z")
    )


async def test_packages_of_deleted_functions_are_garbage(account: Account) -> None:
    await account.functions.create("s", hello(), by=THE_ACCOUNT)
    other = (
        await account.functions.create("s", hello(function_name="g", code=code_of(OTHER)), by=THE_ACCOUNT)
    ).document.package
    await account.functions.delete("s", "f")
    assert live_packages(account.catalog) == {other.sha256}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"custom_runtime_config": {"command": "python3"}}, "CustomRuntimeConfig.Command .*array"),
        ({"custom_runtime_config": {"command": ["", "a"]}}, "CustomRuntimeConfig.Command .*a program, and its arg"),
        ({"custom_runtime_config": {"command": [], "args": [""]}}, "CustomRuntimeConfig.Command .*a program"),
        ({"custom_runtime_config": {"args": ["a\0b"]}}, "CustomRuntimeConfig.Args.0. .*text that matches"),
        ({"custom_health_check_config": {"periodSeconds": 0}}, "CustomHealthCheckConfig.PeriodSeconds .*at least 1"),
        (
            {"custom_health_check_config": {"httpGetUrl": "no path"}},
            "CustomHealthCheckConfig.HttpGetUrl .*text that matches",
        ),
    ],
)
async def test_what_starts_a_custom_runtime_is_checked(
    account: Account, settings: dict[str, Any], message: str
) -> None:
    with refused("InvalidArgument", match=message):
        await account.functions.create("s", hello(runtime="custom", **settings), by=THE_ACCOUNT)
    assert (await account.functions.create("s", hello(**settings), by=THE_ACCOUNT)).etag, "kept for other runtimes"
