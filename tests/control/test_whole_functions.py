"""Functions that belong to no service: made and deleted with their owner, versioned by the code of services.

Run by pytest.
"""

from typing import Any

import msgspec
import pytest
from tests.control.conftest import OTHER, ROLE, Account, code_of, hello
from tests.support.requesters import THE_ACCOUNT

from sesame.control.inputs import AliasInput, FunctionInput, Listing, PublishInput, ServiceInput, TriggerInput
from sesame.control.whole_functions import OF_SERVICES, STANDING_ALONE, WholeFunctions
from sesame.engine.resolver import Resolver
from sesame.model import records
from sesame.model.bucket import Bucket
from sesame.model.errors import AlreadyExists, Disabled, Invalid, NotEmpty, NotFound, Overlapping, Unchanged
from sesame.model.function_state import FunctionState
from sesame.model.invocation import Target
from sesame.model.owner import owner_of
from sesame.model.service import LogConfig

OWNER = owner_of("f")


def whole(account: Account) -> WholeFunctions:
    return WholeFunctions(account.catalog, account.functions, account.services)


async def deploy(account: Account, of_owner: ServiceInput | None = None, **values: Any) -> None:
    await whole(account).create(hello(**values), of_owner or ServiceInput(), {}, by=THE_ACCOUNT)


async def change(account: Account, description: str, **of_owner: Any) -> None:
    sent = FunctionInput(description=description)
    await whole(account).update(OWNER, "f", sent, ServiceInput(**of_owner), by=THE_ACCOUNT)


async def seen(account: Account, qualifier: str = "") -> str:
    return str((await whole(account).get(OWNER, "f", qualifier)).function.document.description)


async def names(account: Account, generation: str = "", **listing: Any) -> tuple[list[str], str | None]:
    page = await whole(account).list(Listing(**listing), generation)
    return [item.name for item in page.items], page.next_token


async def test_a_function_has_what_a_service_has(account: Account) -> None:
    await deploy(account, ServiceInput(role=ROLE, log_config=LogConfig("p", "l"), internet_access=False))
    found = (await whole(account).get(OWNER, "f")).owner.document
    assert (found.role, found.log_config.project, found.internet_access) == (ROLE, "p", False)
    await change(account, "new", internet_access=True)
    found = (await whole(account).get(OWNER, "f")).owner.document
    assert (found.role, found.internet_access) == (ROLE, True)
    snapshot = Resolver(account.catalog).resolve(Target(OWNER, "LATEST", "f"))
    assert (snapshot.role, snapshot.function) == (ROLE, "f")


async def test_a_name_is_taken_once(account: Account) -> None:
    await deploy(account)
    with pytest.raises(AlreadyExists):
        await deploy(account)


async def test_what_is_refused_leaves_no_owner(account: Account) -> None:
    with pytest.raises(Invalid):
        await deploy(account, timeout=0)
    with pytest.raises(Invalid):
        await deploy(account, function_name="a$b")
    assert account.catalog.count(records.SERVICE, "") == 0


async def test_it_is_no_service(account: Account) -> None:
    await deploy(account)
    await account.service("f")
    page = await account.services.list(Listing())
    assert [record.name for record in page.items] == ["f"]
    assert (await account.services.list(Listing(prefix="$"))).items == ()
    assert (await account.functions.list("f", Listing())).items == ()


async def test_versions_freeze_the_function_and_its_owner(account: Account) -> None:
    await deploy(account, description="one")
    assert (await account.versions.publish(OWNER, PublishInput(description="first"))).name == "1"
    await change(account, "two", role=ROLE)
    assert (await account.versions.publish(OWNER, PublishInput())).name == "2"
    with pytest.raises(Unchanged) as unchanged:
        await account.versions.publish(OWNER, PublishInput())
    assert unchanged.value.version == "2"
    await change(account, "three")
    assert [await seen(account, qualifier) for qualifier in ("", "LATEST", "1", "2")] == [
        "three",
        "three",
        "one",
        "two",
    ]
    assert (await whole(account).get(OWNER, "f", "1")).owner.document.role == ""
    resolver = Resolver(account.catalog)
    assert [resolver.resolve(Target(OWNER, each, "f")).role for each in ("1", "2")] == ["", ROLE]
    await account.versions.delete(OWNER, "1")
    with pytest.raises(NotFound):
        await seen(account, "1")


async def test_aliases_point_to_versions_of_the_function(account: Account) -> None:
    await deploy(account, description="one")
    await account.versions.publish(OWNER, PublishInput())
    await change(account, "two")
    await account.versions.publish(OWNER, PublishInput())
    await account.aliases.create(OWNER, AliasInput(alias_name="a", version_id="1"))
    assert await seen(account, "a") == "one"
    await account.aliases.update(OWNER, "a", AliasInput(version_id="2"))
    assert await seen(account, "a") == "two"


async def test_a_function_goes_with_its_owner_when_nothing_hangs_on_it(account: Account) -> None:
    await deploy(account)
    timer = {"cronExpression": "@every 1m", "enable": True}
    sent = TriggerInput(trigger_name="t", trigger_type="timer", trigger_config=timer)
    await account.triggers.create(OWNER, "f", sent, by=THE_ACCOUNT)
    await account.versions.publish(OWNER, PublishInput())
    for remove in (account.triggers.delete(OWNER, "f", "t"), account.versions.delete(OWNER, "1")):
        with pytest.raises(NotEmpty):
            await whole(account).delete(OWNER, "f")
        await remove
    await whole(account).delete(OWNER, "f")
    assert account.catalog.count(records.SERVICE, "") == 0
    await deploy(account)
    assert (await account.versions.publish(OWNER, PublishInput())).name == "1"


async def test_functions_of_services_come_after_those_that_stand_alone(account: Account) -> None:
    for name in ("zebra", "ant"):
        await deploy(account, function_name=name)
    for service in ("s", "a"):
        await account.service(service)
        for function in ("g", "f"):
            await account.functions.create(service, hello(function_name=function), by=THE_ACCOUNT)
    everything = ["ant", "zebra", "a$f", "a$g", "s$f", "s$g"]
    assert await names(account) == (everything, None)
    assert await names(account, STANDING_ALONE) == (everything[:2], None)
    assert await names(account, OF_SERVICES) == (everything[2:], None)
    assert await names(account, prefix="a") == (["ant", "a$f", "a$g"], None)
    assert await names(account, prefix="a$g") == (["a$g"], None)
    paged, token = await names(account, limit=1)
    while token is not None:
        page, token = await names(account, limit=1, next_token=token)
        paged += page
    assert paged == everything
    with pytest.raises(Invalid):
        await names(account, "v1")


async def test_what_belongs_to_a_service_is_not_changed_through_its_function(account: Account) -> None:
    await account.service("s", role=ROLE)
    await account.functions.create("s", hello(), by=THE_ACCOUNT)
    found = whole(account)
    same = ServiceInput(role=ROLE)
    await found.update("s", "f", FunctionInput(code=code_of(OTHER), timeout=9), same, by=THE_ACCOUNT)
    assert (await found.get("s", "f")).function.document.timeout == 9
    with pytest.raises(Invalid, match="service 's'"):
        await found.update("s", "f", FunctionInput(), ServiceInput(role=""), by=THE_ACCOUNT)
    await found.delete("s", "f")
    assert (await account.services.get("s")).document.role == ROLE


async def test_a_disabled_function_does_not_resolve_and_a_reserved_one_has_its_cap(account: Account) -> None:
    await deploy(account)
    resolver, target = Resolver(account.catalog), Target(OWNER, "LATEST", "f")

    async def put(state: FunctionState) -> None:
        await account.catalog.edit(lambda tx: tx.put(records.FUNCTION_STATE, OWNER, "f", state))

    assert resolver.resolve(target).limits.reserved is None
    await put(FunctionState(reserved_concurrency=3))
    assert resolver.resolve(target).limits.reserved == 3
    await put(FunctionState(disabled=True, reason="paused"))
    assert not resolver.is_current(target, "key")
    with pytest.raises(Disabled, match=r"'f' is disabled \(paused\)"):
        resolver.resolve(target)
    await whole(account).delete(OWNER, "f")
    assert account.catalog.count(records.FUNCTION_STATE, OWNER) == 0


async def test_a_trigger_that_overlaps_another_says_whose_by_the_functions_own_name(account: Account) -> None:
    await account.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "bucket", Bucket("bucket", "123")))
    await deploy(account)
    sent = TriggerInput(
        trigger_name="t",
        trigger_type="oss",
        trigger_config={"events": ["oss:ObjectCreated:*"]},
        source_arn="acs:oss:cn-hangzhou:123:bucket",
    )
    await account.triggers.create(OWNER, "f", sent, by=THE_ACCOUNT)
    with pytest.raises(Overlapping) as caught:
        await account.triggers.create(OWNER, "f", msgspec.structs.replace(sent, trigger_name="u"), by=THE_ACCOUNT)
    assert caught.value.other == "f/t"
