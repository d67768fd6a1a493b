"""Layers as reference/api.md §3.6 says, and what functions keep of them.

Run by pytest.
Never puts one into an instance.
"""

from typing import Any

import pytest
from tests.control.conftest import ARNS, HELLO, OTHER, Account, code_of, hello
from tests.support.refusals import refused
from tests.support.requesters import THE_ACCOUNT

from sesame.control.cleanup import live_packages
from sesame.control.inputs import CodeInput, FunctionInput, LayerInput, Listing
from sesame.model import records

S = "s"

LIBRARY = LayerInput(code=code_of(OTHER), description="d", compatible_runtime=("python3", "nodejs12", "python2.7"))


async def test_versions_are_numbered_and_compiled(account: Account) -> None:
    record = await account.layers.create_version("flask", LIBRARY, by=THE_ACCOUNT)
    layer = record.document
    assert (layer.layer_name, layer.version, layer.description) == ("flask", 1, "d")
    assert layer.compatible_runtime == ("python3", "nodejs12", "python2.7")
    assert account.packages.archive(layer.package).read_bytes() == OTHER
    assert account.compiled == ["python3", "python2.7"]
    assert await account.layers.get_version("flask", "1") == record
    assert await account.layers.by_arn(ARNS.layer("flask", 1)) == record
    assert (await account.layers.create_version("flask", LIBRARY, by=THE_ACCOUNT)).document.version == 2
    await account.layers.delete_version("flask", "2")
    await account.layers.delete_version("flask", "1")
    assert (await account.layers.create_version("flask", LIBRARY, by=THE_ACCOUNT)).document.version == 3


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("", {}, "LayerName is required"),
        ("9", {}, "LayerName is set to an invalid value"),
        ("l" * 65, {}, "LayerName"),
        ("l", {"description": "d" * 257}, "Description"),
        ("l", {"compatible_runtime": ("python4",)}, "CompatibleRuntime"),
        ("l", {"compatible_runtime": ("python3",) * 21}, "CompatibleRuntime"),
        ("l", {"code": CodeInput()}, "Either ossBucketName/ossObjectName or zipFile must be set"),
        ("l", {"code": CodeInput(zip_file="aGVsbG8=")}, "not a zip archive"),
    ],
)
async def test_bad_values_are_refused(account: Account, name: str, values: dict[str, Any], message: str) -> None:
    with refused("InvalidArgument", match=message):
        await account.layers.create_version(name, LayerInput(**{"code": code_of(OTHER)} | values), by=THE_ACCOUNT)
    assert account.catalog.revision == 0


async def test_absences(account: Account) -> None:
    await account.layers.create_version("l", LIBRARY, by=THE_ACCOUNT)
    for step in (
        account.layers.get_version("l", "2"),
        account.layers.get_version("x", "1"),
        account.layers.get_version("l", "one"),
        account.layers.delete_version("l", "2"),
        account.layers.by_arn(ARNS.layer("x", 1)),
    ):
        with refused("LayerVersionNotFound"):
            await step
    for attempt in (account.layers.versions("x"), account.layers.share("x", public=True)):
        with refused("LayerNotFound", match="layer 'x' does not exist"):
            await attempt
    with refused("InvalidArgument", match="Arn"):
        await account.layers.by_arn("acs:fc:cn:1:services/s")


async def test_lists_of_versions_and_of_layers(account: Account) -> None:
    for _ in range(11):
        await account.layers.create_version("a", LIBRARY, by=THE_ACCOUNT)
    await account.layers.create_version("b", LIBRARY, by=THE_ACCOUNT)
    await account.layers.create_version("c", LIBRARY, by=THE_ACCOUNT)
    await account.layers.delete_version("b", "1")
    await account.layers.delete_version("a", "11")
    page = await account.layers.versions("a", start_version=8, limit=2)
    assert ([record.name for record in page.items], page.next_token) == (["8", "9"], "10")
    assert (await account.layers.versions("a", start_version=10)).next_token is None
    page = await account.layers.list(Listing(limit=1))
    assert [(r.document.layer_name, r.document.version) for r in page.items] == [("a", 10)]
    assert page.next_token == "c"
    assert (await account.layers.list(Listing(), public=True)).items == ()
    await account.layers.share("c", public=True)
    assert account.layers.is_public("c")
    assert not account.layers.is_public("a")
    assert [r.parent for r in (await account.layers.list(Listing(), public=True)).items] == ["c"]
    assert (await account.layers.list(Listing(), official=True)).items == ()
    await account.layers.share("c", public=False)
    assert not account.layers.is_public("c")


async def test_the_old_form_of_an_arn_names_the_same_layer(account: Account) -> None:
    await account.service("s")
    old = "57bbf06269f73c18099ca76b3f7214f0#test-local-invoke#1"
    with refused("InvalidArgument", match=f"layer '{old}' is not this account's"):
        await account.functions.create("s", hello(layers=(old,)), by=THE_ACCOUNT)
    record = await account.layers.create_version("test-local-invoke", LIBRARY, by=THE_ACCOUNT)
    assert await account.layers.by_arn(old) == record
    made = (await account.functions.create("s", hello(layers=(old,)), by=THE_ACCOUNT)).document
    assert made.layers == (old,)
    assert live_packages(account.catalog) == {made.package.sha256, record.document.package.sha256}
    with refused("InvalidArgument", match="every layer once"):
        await account.functions.update(
            "s", "f", FunctionInput(layers=(old, ARNS.layer("test-local-invoke", 1))), by=THE_ACCOUNT
        )
    for wrong in ("#l#1", "1#l#0", "1#l#1#1", "1#9#1", "l#1"):
        with refused("InvalidArgument", match="Arn"):
            await account.layers.by_arn(wrong)


async def test_functions_keep_layers_that_were_deleted_later(account: Account) -> None:
    await account.service("s")
    arn = "acs:fc:cn-elsewhere:official:layers/flask/versions/1"
    with refused("InvalidArgument", match=f"layer '{arn}' is not this account's"):
        await account.functions.create("s", hello(layers=(arn,)), by=THE_ACCOUNT)
    package = (await account.layers.create_version("flask", LIBRARY, by=THE_ACCOUNT)).document.package
    own = (await account.functions.create("s", hello(layers=(arn,)), by=THE_ACCOUNT)).document.package
    await account.publish()
    await account.layers.delete_version("flask", "1")
    with refused("LayerVersionNotFound"):
        await account.layers.get_version("flask", "1")
    with refused("LayerVersionNotFound"):
        await account.layers.delete_version("flask", "1")
    assert (await account.layers.list(Listing())).items == ()
    assert live_packages(account.catalog) == {own.sha256, package.sha256}
    await account.functions.update("s", "f", FunctionInput(timeout=5), by=THE_ACCOUNT)
    with refused("InvalidArgument", match="is not this account's"):
        await account.functions.create("s", hello(function_name="g", layers=(arn,)), by=THE_ACCOUNT)
    assert account.catalog.get(records.LAYER_VERSION, "flask", "1") is not None
    await account.functions.delete("s", "f")
    assert live_packages(account.catalog) == {own.sha256, package.sha256}
    await account.versions.delete(S, "1")
    assert live_packages(account.catalog) == set()


async def test_foreign_runtimes_may_name_layers_that_are_not_here(account: Account) -> None:
    await account.service("s")
    arn = "acs:fc:cn-hangzhou:official:layers/Nodejs20/versions/1"
    record = await account.functions.create(
        "s", hello(runtime="java11", layers=(arn,), code=code_of(HELLO)), by=THE_ACCOUNT
    )
    assert record.document.layers == (arn,)
