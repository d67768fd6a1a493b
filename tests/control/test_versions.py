"""Versions and what is seen under them, as reference/api.md §3.4 says.

Run by pytest.
Goes through no endpoint: input and answers are structs.
"""

from typing import Any

import pytest
from tests.control.conftest import OTHER, Account, code_of, hello
from tests.support.refusals import refused
from tests.support.requesters import THE_ACCOUNT

from sesame.control.cleanup import live_packages
from sesame.control.inputs import FunctionInput, Listing, PublishInput, ServiceInput
from sesame.model import records

S = "s"
X = "x"


@pytest.fixture(autouse=True)
async def service(account: Account) -> None:
    await account.service("s", description="of the service")


async def describe(account: Account, text: str) -> None:
    await account.services.update("s", ServiceInput(description=text), by=THE_ACCOUNT)


async def test_numbers_begin_at_one_and_are_never_given_twice(account: Account) -> None:
    record = await account.versions.publish(S, PublishInput(description="test service v1"))
    assert (record.document.version_id, record.document.description) == ("1", "test service v1")
    await account.versions.delete(S, "1")
    assert (await account.versions.list(S, Listing())).items == ()
    assert await account.publish() == "2"
    await describe(account, "new")
    assert await account.publish() == "3"


async def test_publishing_the_same_twice_fails(account: Account) -> None:
    await account.publish()
    with refused("VersionPublishError", match="not changed since version '1'") as caught:
        await account.publish()
    assert caught.value.status == 400
    same = await account.versions.publish(S, PublishInput(), unchanged_is_fine=True)
    assert same.name == "1"
    await describe(account, "new")
    assert await account.publish() == "2"
    await account.functions.create("s", hello(), by=THE_ACCOUNT)
    assert await account.publish() == "3"
    await account.functions.update("s", "f", FunctionInput(timeout=9), by=THE_ACCOUNT)
    assert await account.publish() == "4"
    await account.functions.delete("s", "f")
    assert await account.publish() == "5"
    await describe(account, "other")
    await describe(account, "new")
    with refused("VersionPublishError", match="version '5'"):
        await account.publish()


async def test_the_newest_version_is_the_one_with_the_highest_number(account: Account) -> None:
    for number in range(11):
        await describe(account, str(number))
        await account.publish()
    with refused("VersionPublishError", match="version '11'"):
        await account.publish()


async def test_if_match_is_the_services_etag(account: Account) -> None:
    present = await account.services.get("s")
    with refused("PreconditionFailed"):
        await account.versions.publish(S, PublishInput(), "invalid")
    assert (await account.versions.publish(S, PublishInput(), present.etag)).name == "1"


async def test_a_version_stays_as_it_was(account: Account) -> None:
    created = await account.functions.create(
        "s", hello(environment_variables={"a": "1"}, description="old"), by=THE_ACCOUNT
    )
    await account.publish("v1")
    await account.alias("test", "1", additional_version_weight={"1": 0.9})
    updated = await account.functions.update(
        "s",
        "f",
        FunctionInput(code=code_of(OTHER), environment_variables={"b": "2"}, description="new"),
        by=THE_ACCOUNT,
    )
    for qualifier in ("1", "test"):
        assert await account.functions.get("s", "f", qualifier) == created
        assert await account.functions.package("s", "f", qualifier) == created.document.package
        service = (await account.services.get("s", qualifier)).document
        assert (service.service_name, service.description) == ("s", "v1")
    for qualifier in ("", "LATEST"):
        assert await account.functions.get("s", "f", qualifier) == updated
    assert (await account.services.get("s")).document.description == "of the service"
    await account.functions.delete("s", "f")
    assert await account.functions.get("s", "f", "1") == created
    with refused("FunctionNotFound"):
        await account.functions.get("s", "f")


async def test_functions_are_listed_by_version(account: Account) -> None:
    for name in "abc":
        await account.functions.create("s", hello(function_name=name), by=THE_ACCOUNT)
    await account.publish()
    await account.alias("test", "1")
    await account.functions.create("s", hello(function_name="d"), by=THE_ACCOUNT)
    assert len((await account.functions.list("s", Listing())).items) == 4
    by_version = await account.functions.list("s", Listing(limit=2), "1")
    assert [record.name for record in by_version.items] == ["a", "b"]
    assert by_version.next_token == "c"
    assert await account.functions.list("s", Listing(limit=2), "test") == by_version
    assert by_version.items[0].document.function_name == "a"


async def test_lists_are_newest_first_and_by_number(account: Account) -> None:
    for number in range(12):
        await describe(account, str(number))
        await account.publish()

    async def numbers(direction: str = "", **wanted: Any) -> tuple[list[int], str | None]:
        page = await account.versions.list(S, Listing(**wanted), direction)
        return [int(record.name) for record in page.items], page.next_token

    assert await numbers(limit=2) == ([12, 11], "10")
    assert await numbers(limit=2, next_token="10") == ([10, 9], "8")
    assert await numbers("BACKWARD", start_key="3") == ([3, 2, 1], None)
    assert await numbers("FORWARD", limit=2) == ([1, 2], "3")
    assert await numbers("FORWARD", limit=4, start_key="9") == ([9, 10, 11, 12], None)
    with refused("InvalidArgument", match="Direction"):
        await numbers("SIDEWARDS")
    for bad in ("x", "9" * 5000, "-1", "٣", "²"):
        with refused("InvalidArgument", match="StartKey"):
            await numbers(start_key=bad)


async def test_absences(account: Account) -> None:
    for step in (
        account.publish(service="x"),
        account.versions.list(X, Listing()),
        account.versions.delete(X, "1"),
    ):
        with refused("ServiceNotFound"):
            await step
    with refused("VersionNotFound", match="version '1' of service 's' does not exist"):
        await account.versions.delete(S, "1")
    with refused("VersionNotFound"):
        await account.services.get("s", "1")
    with refused("AliasNotFound", match="alias 'a' of service 's' does not exist"):
        await account.services.get("s", "a")
    with refused("InvalidArgument", match="Description"):
        await account.publish("d" * 257)


async def test_a_service_with_versions_or_aliases_stays(account: Account) -> None:
    await account.publish()
    await account.alias("a", "1")
    with refused("ServiceNotEmpty", match="published versions"):
        await account.services.delete("s")
    await account.versions.delete(S, "1")
    with refused("ServiceNotEmpty", match="aliases"):
        await account.services.delete("s")
    with refused("VersionNotFound", match="version '1'"):
        await account.services.get("s", "a")
    await account.aliases.delete(S, "a")
    await account.services.delete("s")
    await account.service("s")
    assert await account.publish() == "1"


async def test_packages_of_versions_are_no_garbage(account: Account) -> None:
    package = (await account.functions.create("s", hello(), by=THE_ACCOUNT)).document.package
    await account.publish()
    await account.functions.delete("s", "f")
    assert live_packages(account.catalog) == {package.sha256}
    await account.versions.delete(S, "1")
    assert live_packages(account.catalog) == set()
    assert list(account.catalog.of_kind(records.FROZEN_FUNCTION)) == []
