"""Services as reference/api.md §3.1 says.

Run by pytest.
Goes through no endpoint: input and answers are structs.
"""

from typing import Any

import pytest
from tests.control.conftest import ROLE, Account, hello
from tests.support.refusals import refused
from tests.support.requesters import THE_ACCOUNT

from sesame.control.inputs import Listing, ServiceInput
from sesame.control.listing import PAGE_BYTES_MAX
from sesame.control.services import Services
from sesame.model import records
from sesame.model.service import (
    LogConfig,
    NasConfig,
    NasMountPoint,
    OssMountConfig,
    OssMountPoint,
    Service,
    TracingConfig,
    VpcConfig,
)
from sesame.store.catalog import Transaction

JAEGER = TracingConfig(type="Jaeger", params={"endpoint": "http://jaeger"})


async def test_a_service_has_the_defaults_of_the_api(account: Account) -> None:
    record = await account.services.create(ServiceInput(service_name="s"), by=THE_ACCOUNT)
    service = record.document
    assert (service.service_name, service.description, service.role) == ("s", "", "")
    assert service.internet_access is True
    assert service.log_config == LogConfig(log_begin_rule="None")
    assert service.tracing_config == TracingConfig(type=None, params=None)
    assert len(service.service_id) == 36
    assert await account.services.get("s") == record
    assert await account.services.get("s", "LATEST") == record


async def test_what_was_sent_comes_back(account: Account) -> None:
    sent = ServiceInput(
        service_name="s",
        description="这是测试service",
        role=ROLE,
        log_config=LogConfig(project="p", logstore="l", enable_request_metrics=True, log_begin_rule="DefaultRegex"),
        vpc_config=VpcConfig(vpc_id="v", v_switch_ids=("a", "b"), security_group_id="g"),
        internet_access=False,
        nas_config=NasConfig(-1, -1, (NasMountPoint("server", "/mnt"),)),
        tracing_config=JAEGER,
    )
    service = (await account.services.create(sent, by=THE_ACCOUNT)).document
    for field in ("description", "role", "log_config", "vpc_config", "internet_access", "nas_config", "tracing_config"):
        assert getattr(service, field) == getattr(sent, field), field


async def test_update_keeps_what_was_not_sent_and_replaces_what_was(account: Account) -> None:
    created = await account.services.create(
        ServiceInput(
            service_name="s",
            description="d",
            log_config=LogConfig("p", "l", True, True, "DefaultRegex"),
            tracing_config=JAEGER,
        ),
        by=THE_ACCOUNT,
    )
    updated = await account.services.update("s", ServiceInput(internet_access=False), by=THE_ACCOUNT)
    assert updated.document.description == "d"
    assert updated.document.tracing_config == JAEGER
    assert updated.etag != created.etag
    assert updated.modified_at > created.modified_at
    assert updated.created_at == created.created_at
    assert updated.document.service_id == created.document.service_id
    cleared = await account.services.update(
        "s", ServiceInput(description="", log_config=LogConfig(), tracing_config=TracingConfig()), by=THE_ACCOUNT
    )
    assert cleared.document.description == ""
    assert cleared.document.log_config == LogConfig()
    assert cleared.document.tracing_config == TracingConfig(None, None)
    assert cleared.document.internet_access is False


async def test_empty_objects_and_texts_mean_unset(account: Account) -> None:
    record = await account.services.create(
        ServiceInput(
            service_name="s",
            role="",
            log_config=LogConfig(log_begin_rule=""),
            vpc_config=VpcConfig(),
            tracing_config=TracingConfig(type="", params={}),
        ),
        by=THE_ACCOUNT,
    )
    assert record.document.log_config.log_begin_rule == "None"
    assert record.document.tracing_config == TracingConfig(None, None)


async def test_the_name_in_an_update_changes_nothing(account: Account) -> None:
    await account.service("s")
    assert (
        await account.services.update("s", ServiceInput(service_name="other"), by=THE_ACCOUNT)
    ).document.service_name == "s"


def nas(*directories: str) -> NasConfig:
    return NasConfig(mount_points=tuple(NasMountPoint("nas:/", each) for each in directories))


def oss(**changes: Any) -> OssMountConfig:
    return OssMountConfig((OssMountPoint(**{"bucket_name": "bucket", "mount_dir": "/mnt/b"} | changes),))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "ServiceName is required but not provided"),
        ({"service_name": ""}, "ServiceName is required but not provided"),
        ({"service_name": "1s"}, "ServiceName is set to an invalid value .*actual: '1s'"),
        ({"service_name": "-s"}, "ServiceName is set to an invalid value"),
        ({"service_name": "a.b"}, "ServiceName is set to an invalid value"),
        ({"service_name": "a" * 129}, "ServiceName is set to an invalid value"),
        ({"service_name": "a\n"}, "ServiceName is set to an invalid value"),
        ({"description": "d" * 257}, "Description is set to an invalid value"),
        ({"role": "acs:ram::123:role/bad"}, "role 'acs:ram::123:role/bad' cannot be assumed"),
        ({"log_config": LogConfig(project="p")}, "LogConfig.Logstore is required"),
        ({"log_config": LogConfig(logstore="l")}, "LogConfig.Project is required"),
        ({"log_config": LogConfig(log_begin_rule="x")}, "allowed: None | DefaultRegex, actual: 'x'"),
        ({"nas_config": NasConfig(user_id=-2)}, "NasConfig.UserId"),
        ({"nas_config": NasConfig(mount_points=(NasMountPoint("", "/m"),))}, "ServerAddr is required"),
        ({"nas_config": NasConfig(mount_points=(NasMountPoint("s:/..", "/m"),))}, "ServerAddr .*SERVER:/PATH"),
        ({"nas_config": nas("m")}, "MountDir .*absolute path"),
        ({"nas_config": nas("/m/../etc")}, "MountDir .*absolute path"),
        ({"nas_config": nas("/")}, "MountDir .*a directory that is not /"),
        ({"nas_config": nas("//usr/share")}, "MountDir .*not in /bin"),
        ({"nas_config": nas("/tmp")}, "MountDir .*not in /bin"),
        ({"nas_config": nas("/m", "/m/")}, "MountDir .*none is in another"),
        ({"nas_config": nas("/m/a", "/m")}, "MountDir .*none is in another"),
        ({"nas_config": nas(*(f"/m/{number}" for number in range(6)))}, "MountPoints .*at most 5"),
        ({"nas_config": NasConfig(group_id=65535)}, "NasConfig.GroupId"),
        ({"oss_mount_config": oss(bucket_name="")}, "BucketName is required"),
        ({"oss_mount_config": oss(bucket_name="A")}, "BucketName .*3 to 63 lower-case letters"),
        ({"oss_mount_config": oss(bucket_path="/a/../b")}, "BucketPath .*without '.' and '..'"),
        ({"oss_mount_config": oss(mount_dir="/etc/b")}, "MountDir .*not in /bin"),
        ({"oss_mount_config": oss(mount_dir="/m/b"), "nas_config": nas("/m")}, "MountDir .*none is in another"),
        ({"oss_mount_config": OssMountConfig(oss().mount_points * 6)}, "MountPoints .*at most 5"),
        ({"oss_mount_config": oss()}, "Role is required"),
        ({"log_config": LogConfig("p" * 129, "l")}, "LogConfig.Project"),
        ({"log_config": LogConfig("p", "l" * 129)}, "LogConfig.Logstore"),
        ({"vpc_config": VpcConfig("v" * 2**16)}, "at most 65536 bytes of JSON"),
        ({"tracing_config": TracingConfig("Jaeger", {"endpoint": "e" * 2**16})}, "at most 65536 bytes of JSON"),
        ({"tracing_config": TracingConfig("Zipkin", {"endpoint": "e"})}, "TracingConfig.Type"),
        ({"tracing_config": TracingConfig("Jaeger", {})}, "TracingConfig.Params.Endpoint is required"),
        ({"tracing_config": TracingConfig("Jaeger", {"endpoint": 1})}, "TracingConfig.Params.Endpoint is required"),
    ],
)
async def test_bad_values_are_refused_on_create_and_update(account: Account, values: dict, message: str) -> None:
    with refused("InvalidArgument", match=message):
        await account.services.create(ServiceInput(**{"service_name": "s"} | values if values else {}), by=THE_ACCOUNT)
    assert account.catalog.revision == 0
    if values and "service_name" not in values:
        await account.service("s")
        with refused("InvalidArgument", match=message):
            await account.services.update("s", ServiceInput(**values), by=THE_ACCOUNT)


@pytest.mark.parametrize("name", ["_", "a" * 128, "test_trigger_service00000000-0000-0000-0000-000000000000", "A-9"])
async def test_good_names_are_accepted(account: Account, name: str) -> None:
    assert (await account.services.create(ServiceInput(service_name=name), by=THE_ACCOUNT)).name == name


async def test_conflicts_and_absences(account: Account) -> None:
    await account.service("s")
    with refused("ServiceAlreadyExists", match="service 's' already exists") as conflict:
        await account.service("s")
    assert conflict.value.status == 409
    for step in (
        account.services.get("x"),
        account.services.update("x", ServiceInput(), by=THE_ACCOUNT),
        account.services.delete("x"),
    ):
        with refused("ServiceNotFound", match="service 'x' does not exist"):
            await step


async def test_if_match(account: Account) -> None:
    record = await account.services.create(ServiceInput(service_name="s"), by=THE_ACCOUNT)
    with refused("PreconditionFailed", match="the resource being modified has been changed") as failed:
        await account.services.update("s", ServiceInput(description="x"), "invalid etag", by=THE_ACCOUNT)
    assert failed.value.status == 412
    for stale in ('""', '"a", "b"', f'W/"{record.etag}"'):
        with refused("PreconditionFailed"):
            await account.services.update("s", ServiceInput(description="x"), stale, by=THE_ACCOUNT)
    listed = f'"a", "{record.etag}"'
    updated = await account.services.update("s", ServiceInput(description="x"), listed, by=THE_ACCOUNT)
    for any_state in ("*", "", None):
        assert await account.services.update("s", ServiceInput(), any_state, by=THE_ACCOUNT)
    updated = await account.services.get("s")
    with refused("PreconditionFailed"):
        await account.services.delete("s", record.etag)
    assert await account.services.get("s") == updated
    await account.services.delete("s", updated.etag)
    with refused("ServiceNotFound"):
        await account.services.get("s")


async def test_a_service_with_functions_stays(account: Account) -> None:
    await account.service("s")
    await account.functions.create("s", hello(), by=THE_ACCOUNT)
    with refused("ServiceNotEmpty", match="service 's' has functions") as conflict:
        await account.services.delete("s")
    assert conflict.value.status == 409
    await account.functions.delete("s", "f")
    await account.services.delete("s")


async def test_lists_page_as_the_sdk_expects(account: Account) -> None:
    for name in ("zzz", "abc", "abd", "ade", "bcd", "bde"):
        await account.service("test_list_" + name)

    async def names(**wanted: Any) -> tuple[list[str], str | None]:
        page = await account.services.list(Listing(**wanted))
        return [record.name.removeprefix("test_list_") for record in page.items], page.next_token

    found, token = await names(limit=2, start_key="test_list_b")
    assert found == ["bcd", "bde"]
    assert token is not None
    assert await names(limit=1, start_key="test_list_b", next_token=token) == (["zzz"], None)
    assert await names(limit=1, next_token=token) == (["zzz"], None)
    assert await names(limit=2, prefix="test_list_x", next_token=token) == ([], None)
    assert (await names(limit=2, prefix="test_list_a"))[0] == ["abc", "abd"]
    assert await names(limit=2, prefix="test_list_ab", start_key="test_list_abd") == (["abd"], None)
    assert await names(limit=3, start_key="test_list_abd") == (["abd", "ade", "bcd"], "test_list_bde")


async def test_ten_services_by_three_are_four_calls(account: Account) -> None:
    for number in range(10):
        await account.service(f"s{number}")
    token: str | None = ""
    calls = 0
    while token is not None:
        page = await account.services.list(Listing(limit=3, next_token=token))
        token, calls = page.next_token, calls + 1
    assert calls == 4
    assert len((await account.services.list(Listing())).items) == 10


@pytest.mark.parametrize("limit", [0, -1, 101])
async def test_limits_of_lists(account: Account, limit: int) -> None:
    with refused("InvalidArgument", match="Limit is set to an invalid value"):
        await account.services.list(Listing(limit=limit))


async def test_a_bucket_is_mounted_where_that_is_possible_and_else_refused_with_the_reason(account: Account) -> None:
    sent = ServiceInput(service_name="s", role=ROLE, oss_mount_config=oss(bucket_path="/a", read_only=True))
    made = await account.services.create(sent, by=THE_ACCOUNT)
    assert made.document.oss_mount_config == sent.oss_mount_config
    with refused("InvalidArgument", match="Role is required"):
        await account.services.update("s", ServiceInput(role=""), by=THE_ACCOUNT)
    elsewhere = Services(account.catalog, lambda _role: None, "FUSE cannot be used here: load the module")
    with refused("InvalidArgument", match="bucket 'bucket', and no bucket can be mounted here: FUSE cannot .*: load"):
        await elsewhere.update("s", ServiceInput(oss_mount_config=oss()), by=THE_ACCOUNT)
    await elsewhere.update("s", ServiceInput(oss_mount_config=OssMountConfig()), by=THE_ACCOUNT)


async def test_a_page_of_large_records_is_shorter_than_asked_for(account: Account) -> None:
    large = "x" * (PAGE_BYTES_MAX // 3)

    def fill(tx: Transaction) -> None:
        for name in ("a", "b", "c", "d"):
            tx.put(records.SERVICE, "", name, Service(service_name=name, service_id="1", description=large))

    await account.catalog.edit(fill)
    first = await account.services.list(Listing())
    assert ([each.name for each in first.items], first.next_token) == (["a", "b"], "c")
    last = await account.services.list(Listing(next_token="c"))
    assert ([each.name for each in last.items], last.next_token) == (["c", "d"], None)
    one = await account.services.list(Listing(limit=1))
    assert ([each.name for each in one.items], one.next_token) == (["a"], "b")
