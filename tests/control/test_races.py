"""Two callers at once: one wins, the other gets the API's answer, and what is kept is whole.

Run by pytest.
Never depends on who wins.
"""

import asyncio
from collections.abc import Awaitable

import pytest
from tests.control.conftest import ARNS, Account, hello
from tests.support.requesters import THE_ACCOUNT

from sesame.control.async_configs import AsyncConfigs
from sesame.control.inputs import (
    AliasInput,
    AsyncConfigInput,
    FunctionInput,
    ProvisionInput,
    PublishInput,
    ServiceInput,
)
from sesame.control.provision_configs import ProvisionConfigs
from sesame.model import records
from sesame.model.errors import AlreadyExists, NotEmpty, NotFound, PreconditionFailed, Unchanged
from sesame.model.records import Record

S = "s"

CALLERS = 8


async def outcomes(*steps: Awaitable[object]) -> tuple[list[object], list[BaseException]]:
    results = await asyncio.gather(*steps, return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    return [result for result in results if not isinstance(result, BaseException)], failed


async def test_one_of_many_creates_wins(account: Account) -> None:
    won, lost = await outcomes(
        *(account.services.create(ServiceInput(service_name="s"), by=THE_ACCOUNT) for _ in range(CALLERS))
    )
    assert (len(won), {type(error) for error in lost}) == (1, {AlreadyExists})
    won, lost = await outcomes(*(account.functions.create("s", hello(), by=THE_ACCOUNT) for _ in range(CALLERS)))
    assert (len(won), {type(error) for error in lost}) == (1, {AlreadyExists})
    assert won == [await account.functions.get("s", "f")]


async def test_one_of_many_updates_with_the_same_etag_wins(account: Account) -> None:
    await account.service()
    etag = (await account.functions.create("s", hello(), by=THE_ACCOUNT)).etag
    won, lost = await outcomes(
        *(
            account.functions.update("s", "f", FunctionInput(timeout=n + 1), etag, by=THE_ACCOUNT)
            for n in range(CALLERS)
        )
    )
    assert (len(won), {type(error) for error in lost}) == (1, {PreconditionFailed})


async def test_updates_of_different_fields_all_count(account: Account) -> None:
    await account.service()
    await account.functions.create("s", hello(), by=THE_ACCOUNT)
    await asyncio.gather(
        account.functions.update("s", "f", FunctionInput(timeout=9), by=THE_ACCOUNT),
        account.functions.update("s", "f", FunctionInput(memory_size=256), by=THE_ACCOUNT),
        account.functions.update("s", "f", FunctionInput(description="d"), by=THE_ACCOUNT),
    )
    function = (await account.functions.get("s", "f")).document
    assert (function.timeout, function.memory_size, function.description) == (9, 256, "d")


async def test_one_of_many_publications_wins(account: Account) -> None:
    await account.service()
    won, lost = await outcomes(*(account.versions.publish(S, PublishInput()) for _ in range(CALLERS)))
    assert ([r.name for r in won if isinstance(r, Record)], {type(e) for e in lost}) == (["1"], {Unchanged})


@pytest.mark.parametrize("round_number", range(5))
async def test_a_service_is_deleted_or_has_its_function(account: Account, round_number: int) -> None:
    await account.service()
    await account.publish()
    await account.versions.delete(S, "1")
    steps = [account.functions.create("s", hello(), by=THE_ACCOUNT), account.services.delete("s")]
    _, lost = await outcomes(*(steps if round_number % 2 else reversed(steps)))
    assert [type(error) in (NotFound, NotEmpty) for error in lost] == [True]
    has_service = account.catalog.get(records.SERVICE, "", "s") is not None
    assert account.catalog.count(records.FUNCTION, "s") == int(has_service)


async def test_an_alias_never_points_to_a_version_that_was_gone_before(account: Account) -> None:
    await account.service()
    await account.publish()
    sent = AliasInput(alias_name="a", version_id="1")
    await outcomes(account.versions.delete(S, "1"), account.aliases.create(S, sent))
    assert account.catalog.get(records.ALIAS, "s", "a") is None


async def test_a_configuration_never_outlives_its_function_or_alias(account: Account) -> None:
    """As it would where it is written after a deletion that began before it: the next function of the name had it."""
    asynchronous, provision = AsyncConfigs(account.catalog, ARNS), ProvisionConfigs(account.catalog)
    await account.service()
    for qualifier in ("", "prod"):
        await account.functions.create("s", hello(), by=THE_ACCOUNT)
        if qualifier:
            await account.publish()
            await account.alias("prod", "1")
            gone = account.aliases.delete(S, "prod")
        else:
            gone = account.functions.delete("s", "f")
        _won, lost = await outcomes(
            gone,
            asynchronous.put("s", "f", qualifier, AsyncConfigInput(max_async_retry_attempts=0)),
            provision.put(("s", "f", qualifier), ProvisionInput(target=1)),
        )
        assert {type(error) for error in lost} == {NotFound}
        for kind in (records.ASYNC_CONFIG, records.PROVISION_CONFIG):
            assert not list(account.catalog.of_kind(kind)), kind
