"""Aliases as reference/api.md §3.4 says.

Run by pytest.
Goes through no endpoint: input and answers are structs.
"""

from typing import Any

import pytest
from tests.control.conftest import Account
from tests.support.refusals import refused
from tests.support.requesters import THE_ACCOUNT

from sesame.control.inputs import AliasInput, Listing, ServiceInput

S = "s"
X = "x"


@pytest.fixture(autouse=True)
async def versions(account: Account) -> None:
    await account.service("s")
    for number in range(2):
        await account.services.update("s", ServiceInput(description=str(number)), by=THE_ACCOUNT)
        await account.publish()


async def test_an_alias_has_the_defaults_of_the_api(account: Account) -> None:
    await account.alias("myAlias", "1")
    record = await account.aliases.get(S, "myAlias")
    alias = record.document
    assert (alias.alias_name, alias.version_id, alias.description) == ("myAlias", "1", "")
    assert alias.additional_version_weight is None


async def test_rules_that_nothing_obeys_are_refused(account: Account) -> None:
    await account.alias("a", "1", resolve_policy="Random", route_policy={})
    rules = {"condition": "AND", "policyItems": [{"type": "Header", "key": "x", "operator": "=", "value": "1"}]}
    for sent in (AliasInput(resolve_policy="Content"), AliasInput(route_policy=rules)):
        with refused("InvalidArgument", match="Policy is set to an invalid value"):
            await account.aliases.update(S, "a", sent)
    with refused("InvalidArgument", match="RoutePolicy is set to an invalid value"):
        await account.alias("b", "1", route_policy=rules)


async def test_update_keeps_what_was_not_sent(account: Account) -> None:
    await account.alias("a", "1", description="test alias", additional_version_weight={"2": 0.9})
    created = await account.aliases.get(S, "a")
    weighted = await account.aliases.update(S, "a", AliasInput(additional_version_weight={"2": 0.2}))
    assert weighted.document.additional_version_weight == {"2": 0.2}
    assert (weighted.document.version_id, weighted.document.description) == ("1", "test alias")
    assert weighted.etag != created.etag
    moved = await account.aliases.update(S, "a", AliasInput(version_id="2", description=""))
    assert (moved.document.version_id, moved.document.description) == ("2", "")
    assert moved.document.additional_version_weight == {"2": 0.2}
    ended = await account.aliases.update(S, "a", AliasInput(additional_version_weight={}))
    assert ended.document.additional_version_weight is None


async def test_weights_may_name_the_alias_own_version(account: Account) -> None:
    await account.alias("a", "1", additional_version_weight={"1": 1.0})
    await account.alias("b", "1", additional_version_weight={"1": 0.9})
    assert (await account.aliases.get(S, "b")).document.additional_version_weight == {"1": 0.9}


async def test_weights_of_one_in_all_are_added_exactly(account: Account) -> None:
    for number in range(3):
        await account.services.update("s", ServiceInput(description=f"more {number}"), by=THE_ACCOUNT)
        await account.publish()
    weights = {"2": 0.8, "3": 0.05, "4": 0.05, "5": 0.1}
    await account.alias("a", "1", additional_version_weight=weights)
    with refused("InvalidArgument", match=r"at most 1 in all, actual: '1\.01'"):
        await account.alias("b", "1", additional_version_weight={**weights, "2": 0.81})


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({}, "InvalidArgument", "AliasName is required but not provided"),
        ({"alias_name": "a"}, "InvalidArgument", "VersionId is required but not provided"),
        ({"alias_name": "LATEST", "version_id": "1"}, "InvalidArgument", "any name but LATEST"),
        ({"alias_name": "1", "version_id": "1"}, "InvalidArgument", "AliasName is set to an invalid value"),
        ({"alias_name": "a", "version_id": "9"}, "VersionNotFound", "version '9' of service 's' does not exist"),
        ({"alias_name": "a", "version_id": "x"}, "VersionNotFound", "version 'x'"),
        ({"alias_name": "a", "version_id": "1", "description": "d" * 257}, "InvalidArgument", "Description"),
        (
            {"alias_name": "a", "version_id": "1", "additional_version_weight": {"2": 1.1}},
            "InvalidArgument",
            "AdditionalVersionWeight",
        ),
        (
            {"alias_name": "a", "version_id": "1", "additional_version_weight": {"2": -0.1}},
            "InvalidArgument",
            "AdditionalVersionWeight",
        ),
        (
            {"alias_name": "a", "version_id": "1", "additional_version_weight": {"1": 0.6, "2": 0.6}},
            "InvalidArgument",
            "at most 1 in all",
        ),
        ({"alias_name": "a", "version_id": "1", "additional_version_weight": {"9": 0.6}}, "VersionNotFound", "'9'"),
    ],
)
async def test_bad_values_are_refused(account: Account, values: dict[str, Any], error: str, message: str) -> None:
    with refused(error, match=message):
        await account.aliases.create(S, AliasInput(**values))
    assert (await account.aliases.list(S, Listing())).items == ()


async def test_conflicts_absences_and_preconditions(account: Account) -> None:
    await account.alias("a", "1")
    with refused("AliasAlreadyExists", match="alias a of service s already exists"):
        await account.alias("a", "2")
    for step in (
        account.aliases.get(S, "x"),
        account.aliases.update(S, "x", AliasInput()),
        account.aliases.delete(S, "x"),
    ):
        with refused("AliasNotFound", match="alias 'x' of service 's' does not exist"):
            await step
    for attempt in (
        account.aliases.get(X, "a"),
        account.aliases.update(X, "a", AliasInput()),
        account.aliases.delete(X, "a"),
        account.aliases.list(X, Listing()),
        account.alias("a", "1", service="x"),
    ):
        with refused("ServiceNotFound"):
            await attempt
    etag = (await account.aliases.get(S, "a")).etag
    for step in (
        account.aliases.update(S, "a", AliasInput(), "bad"),
        account.aliases.delete(S, "a", "bad"),
    ):
        with refused("PreconditionFailed"):
            await step
    await account.aliases.delete(S, "a", etag)


async def test_an_alias_outlives_its_version_and_can_be_moved(account: Account) -> None:
    await account.alias("a", "1")
    await account.versions.delete(S, "1")
    assert (await account.aliases.update(S, "a", AliasInput(description="d"))).document.version_id == "1"
    with refused("VersionNotFound"):
        await account.aliases.update(S, "a", AliasInput(version_id="9"))
    assert (await account.aliases.update(S, "a", AliasInput(version_id="2"))).document.version_id == "2"


async def test_lists(account: Account) -> None:
    for name in "cab":
        await account.alias(name, "1")
    page = await account.aliases.list(S, Listing(limit=2))
    assert ([record.name for record in page.items], page.next_token) == (["a", "b"], "c")
