"""Asynchronous invocations on the durable queue itself: accepted once, listed, stopped and replayed."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.control.conftest import ARNS, Account, hello
from tests.support.fakes import FakeClocks
from tests.support.requesters import THE_ACCOUNT

from sesame.control.async_configs import AsyncConfigs
from sesame.control.async_invocations import AsyncInvocations
from sesame.control.async_policies import AsyncPolicies
from sesame.control.dead_letters import DeadLetters
from sesame.control.functions import Functions
from sesame.control.inputs import AsyncCall, AsyncConfigInput, AsyncOptions, PublishInput
from sesame.control.listing import PAGE_BYTES_MAX, fitting
from sesame.model.async_invocation import AsyncQuery, Ending, InvocationMeta, NewDelivery, State
from sesame.model.configs import Destination, DestinationConfig
from sesame.model.errors import AlreadyExists, Invalid, NotFound
from sesame.model.invocation import Target
from sesame.store.queue.queue import InvocationQueue

TARGET = Target("s", "LATEST", "f")


class Kept:
    """What is under test, and the queue behind it."""

    def __init__(self, account: Account, queue: InvocationQueue, clocks: FakeClocks) -> None:
        self.account = account
        self.queue = queue
        self.clocks = clocks
        self.invocations = AsyncInvocations(
            account.catalog, queue, AsyncPolicies(account.catalog).policy_of, clocks.wall
        )

    async def run(self, state: State = State.SUCCEEDED) -> None:
        """Ends what is due, as its holder would."""
        for lease in await self.queue.claim(10):
            assert await self.queue.finish(lease, Ending(state=state, ended_at=self.clocks.wall()))


def call(
    chosen: str = "", payload: bytes = b"event", *, request_id: str = "r-1", delay_s: float | None = None
) -> AsyncCall:
    options = AsyncOptions(stateful_async_invocation_id=chosen, delay_s=delay_s)
    return AsyncCall(target=TARGET, request_id=request_id, payload=payload, options=options)


@pytest.fixture
async def kept(account: Account) -> AsyncIterator[Kept]:
    await account.service("s")
    await account.functions.create("s", hello(), by=THE_ACCOUNT)
    clocks = FakeClocks()
    queue = InvocationQueue(account.database, clocks)
    await queue.open()
    yield Kept(account, queue, clocks)
    await queue.close()


async def test_an_accepted_invocation_is_in_the_queue(kept: Kept) -> None:
    wanted = AsyncConfigInput(max_async_event_age_in_seconds=60)
    await AsyncConfigs(kept.account.catalog, ARNS).put("s", "f", "", wanted)
    sent = AsyncCall(
        target=TARGET, request_id="r-1", payload=b"\x00\xff", tracing={"span_context": "c"}, chain=("s/g",),
        options=AsyncOptions(stateful_async_invocation_id="mine", delay_s=10),
    )  # fmt: skip
    assert (await kept.invocations.accept(sent)).invocation_id == "mine"
    found = await kept.invocations.get(TARGET, "mine")
    now = kept.clocks.wall()
    assert (found.payload, found.state, found.request_id) == (b"\x00\xff", State.ENQUEUED, "r-1")
    assert (found.next_at, found.expires_at) == (now + 10, now + 70)
    assert found.meta == InvocationMeta(tracing={"span_context": "c"}, chain=("s/g",), max_age_s=60)
    assert await kept.queue.claim(1) == []
    kept.clocks.advance(10)
    assert len(await kept.queue.claim(1)) == 1


async def test_what_is_configured_when_it_is_accepted_goes_with_an_invocation(kept: Kept) -> None:
    configs = AsyncConfigs(kept.account.catalog, ARNS)
    destinations = DestinationConfig(on_success=Destination("http://h/yes"), on_failure=Destination("http://h/no"))
    await configs.put("s", "f", "", AsyncConfigInput(max_async_retry_attempts=0, destination_config=destinations))
    await kept.invocations.accept(call("first"))
    await configs.delete("s", "f")
    await kept.invocations.accept(call("second"))
    await kept.account.functions.delete("s", "f")
    first, second = await kept.queue.claim(2)
    assert first.meta == InvocationMeta(max_retries=0, on_success="http://h/yes", on_failure="http://h/no")
    assert second.meta == InvocationMeta()


async def test_many_at_once_under_one_id_are_one(kept: Kept) -> None:
    accepted = await asyncio.gather(*(kept.invocations.accept(call("mine")) for _ in range(50)))
    assert {each.invocation_id for each in accepted} == {"mine"}
    assert len((await kept.invocations.list(AsyncQuery(target=TARGET))).items) == 1
    others = await asyncio.gather(
        *(kept.invocations.accept(call("mine", b"other")) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(each, AlreadyExists) for each in others)


async def test_a_function_that_is_created_anew_has_none_of_the_ids_of_the_one_before(kept: Kept) -> None:
    functions = Functions(kept.account.catalog, kept.account.code, kept.queue)
    await kept.invocations.accept(call("mine"))
    await kept.run()
    await kept.invocations.accept(call("waits", b"first"))
    await functions.delete("s", "f")
    await functions.create("s", hello(), by=THE_ACCOUNT)
    with pytest.raises(NotFound):
        await kept.invocations.get(TARGET, "mine")
    for chosen in ("mine", "waits"):
        await kept.invocations.accept(call(chosen))
    # An event that was accepted for the function before runs, too.
    assert [each.payload for each in await kept.queue.claim(10)] == [b"first", b"event", b"event"]
    assert len((await kept.invocations.list(AsyncQuery(target=TARGET))).items) == 2
    assert len((await kept.invocations.list(AsyncQuery(target=TARGET, stateful_only=False))).items) == 4


async def test_a_second_creation_of_a_function_leaves_the_ids_of_the_first_alone(kept: Kept) -> None:
    """Both began while there was no such function."""
    functions = Functions(kept.account.catalog, kept.account.code, kept.queue)
    await functions.delete("s", "f")
    results = await asyncio.gather(*(_create_and_call(functions, kept) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(each, AlreadyExists) for each in results) == 4
    assert (await kept.invocations.get(TARGET, "mine")).payload == b"event"
    await kept.queue.release_ids("s", "f", lambda: False)
    assert (await kept.invocations.get(TARGET, "mine")).payload == b"event"


async def _create_and_call(functions: Functions, kept: Kept) -> None:
    await functions.create("s", hello(), by=THE_ACCOUNT)
    await kept.invocations.accept(call("mine"))


async def test_an_id_stays_taken_after_its_invocation_has_ended(kept: Kept) -> None:
    await kept.invocations.accept(call("mine"))
    await kept.run()
    await kept.invocations.accept(call("mine"))
    assert (await kept.invocations.get(TARGET, "mine")).state is State.SUCCEEDED
    with pytest.raises(AlreadyExists):
        await kept.invocations.accept(call("mine", b"other"))


async def test_one_request_id_several_times(kept: Kept) -> None:
    stateful = AsyncCall(target=TARGET, request_id="r-1", payload=b"", options=AsyncOptions(stateful=True))
    accepted = [await kept.invocations.accept(stateful) for _ in range(3)]
    assert accepted[0].invocation_id == "r-1"
    assert len({each.invocation_id for each in accepted}) == 3
    for _ in range(3):
        await kept.invocations.accept(call())
    assert len((await kept.invocations.list(AsyncQuery(target=TARGET, stateful_only=False))).items) == 6


async def test_what_is_not_stateful_is_not_searched_for_callers(kept: Kept) -> None:
    await kept.invocations.accept(call())
    with pytest.raises(NotFound):
        await kept.invocations.get(TARGET, "r-1")
    assert await kept.queue.get(TARGET, "r-1", stateful_only=True) is None
    assert (await kept.invocations.find(TARGET, "r-1")).payload == b"event"


@pytest.mark.parametrize("delay_s", [0.0, -1.0, 3600.5])
async def test_delays_that_are_refused(kept: Kept, delay_s: float) -> None:
    with pytest.raises(Invalid, match="async_delay"):
        await kept.invocations.accept(call(delay_s=delay_s))


async def test_a_stopped_invocation_never_starts_and_one_that_runs_is_told(kept: Kept) -> None:
    told: list[int] = []
    kept.queue.on_stop(told.append)
    await kept.invocations.accept(call("waits"))
    await kept.invocations.stop(TARGET, "waits")
    assert (await kept.invocations.get(TARGET, "waits")).state is State.STOPPED
    assert await kept.queue.claim(1) == []
    await kept.invocations.accept(call("runs"))
    (lease,) = await kept.queue.claim(1)
    await kept.invocations.stop(TARGET, "runs")
    assert told == [lease.seq]
    assert (await kept.invocations.get(TARGET, "runs")).state is State.STOPPING
    await kept.queue.finish(lease, Ending(state=State.STOPPED, ended_at=kept.clocks.wall()))
    with pytest.raises(Invalid, match="found 'Stopped'"):
        await kept.invocations.stop(TARGET, "runs")
    with pytest.raises(NotFound):
        await kept.invocations.stop(TARGET, "none")


async def test_replay_is_an_invocation_of_its_own(kept: Kept) -> None:
    await kept.invocations.accept(call("mine", delay_s=5))
    with pytest.raises(Invalid, match="has ended"):
        await kept.invocations.replay(TARGET, "mine", "r-2")
    kept.clocks.advance(5)
    await kept.run(State.FAILED)
    again = await kept.invocations.replay(TARGET, "mine", "r-2")
    found = await kept.invocations.get(TARGET, again.invocation_id)
    assert (again.invocation_id, found.payload, found.source, found.stateful) == ("r-2", b"event", "replay", True)
    assert (await kept.invocations.get(TARGET, "mine")).state is State.FAILED


async def test_invocations_of_a_function_that_is_gone(kept: Kept) -> None:
    await kept.invocations.accept(call("mine"))
    await kept.account.functions.delete("s", "f")
    with pytest.raises(NotFound):
        await kept.invocations.get(TARGET, "mine")
    with pytest.raises(NotFound):
        await kept.invocations.accept(call("other"))
    assert (await kept.invocations.find(TARGET, "mine")).state is State.ENQUEUED
    await kept.invocations.stop(TARGET, "mine")
    with pytest.raises(NotFound):
        await kept.invocations.replay(TARGET, "mine", "r-2")


async def test_functions_in_order_page_by_page(kept: Kept) -> None:
    await kept.account.service("s-1")
    for service in ("s", "s-1"):
        for name in ("a", "b"):
            await kept.account.functions.create(service, hello(function_name=name), by=THE_ACCOUNT)
    configs = AsyncConfigs(kept.account.catalog, ARNS)
    await configs.put("s-1", "a", "", AsyncConfigInput(stateful_invocation=True))
    await configs.put("s", "b", "", AsyncConfigInput(stateful_invocation=True))
    await kept.account.versions.publish("s", PublishInput())
    for qualifier in ("LATEST", "1"):
        target = Target("s", qualifier, "f")
        await kept.invocations.accept(
            AsyncCall(target=target, request_id="r", payload=b"", options=AsyncOptions(stateful=True))
        )
    await kept.invocations.accept(AsyncCall(target=Target("s", "LATEST", "a"), request_id="r", payload=b""))
    expected = [
        Target("s", "LATEST", "b"), Target("s", "1", "f"), Target("s", "LATEST", "f"), Target("s-1", "LATEST", "a"),
    ]  # fmt: skip
    seen: list[Target] = []
    token: str | None = ""
    while token is not None:
        page = await kept.invocations.functions(token, 1)
        seen += page.items
        token = page.next_token
    assert seen == expected
    assert await kept.invocations.functions("", 100) == type(page)(tuple(expected), None)


@pytest.mark.parametrize("start", ["x", "-1", "9" * 40, "1;DROP"])
async def test_tokens_that_no_page_gave(kept: Kept, start: str) -> None:
    with pytest.raises(Invalid, match="next_token"):
        await kept.invocations.list(AsyncQuery(target=TARGET, start=start))
    with pytest.raises(Invalid, match="next_token"):
        await DeadLetters(kept.queue.deliveries).list(start, 10)


@pytest.mark.parametrize("token", ["bogus", "s/f", "s/f/", "/f/LATEST", "s/f/LATEST/x", "//"])
async def test_tokens_of_functions_that_no_page_gave(kept: Kept, token: str) -> None:
    with pytest.raises(Invalid, match="next_token"):
        await kept.invocations.functions(token, 10)


async def test_dead_letters(kept: Kept) -> None:
    letters = DeadLetters(kept.queue.deliveries)
    await kept.invocations.accept(call("mine"))
    (lease,) = await kept.queue.claim(1)
    record = NewDelivery(destination="http://127.0.0.1:1/", record=b"{}", condition="Success")
    await kept.queue.finish(lease, Ending(state=State.SUCCEEDED, ended_at=kept.clocks.wall()), [record])
    (sending,) = await kept.queue.deliveries.claim(1)
    await kept.queue.deliveries.bury(sending, "connection refused")
    (found,) = (await letters.list("", 10)).items
    assert (found.invocation_id, found.destination, found.error) == (
        "mine",
        "http://127.0.0.1:1/",
        "connection refused",
    )
    assert await letters.get(str(found.id)) == found
    await letters.replay(str(found.id))
    assert (await letters.list("", 10)).items == ()
    for missing in (str(found.id), "0", "x", "1" * 40):
        with pytest.raises(NotFound):
            await letters.get(missing)
        with pytest.raises(NotFound):
            await letters.replay(missing)
    assert len(await kept.queue.deliveries.claim(1)) == 1


async def test_a_page_of_large_results_is_shorter_than_asked_for(kept: Kept) -> None:
    for number in range(7):
        await kept.invocations.accept(call(f"job-{number}"))
    for lease in await kept.queue.claim(10):
        ending = Ending(state=State.SUCCEEDED, ended_at=kept.clocks.wall(), return_payload=bytes(PAGE_BYTES_MAX // 3))
        assert await kept.queue.finish(lease, ending)
    sizes, start = [], ""
    while True:
        page = await kept.invocations.list(AsyncQuery(target=TARGET, newest_first=False, start=start, limit=50))
        sizes.append([item.invocation_id for item in page.items])
        if page.next_token is None:
            break
        start = page.next_token
    assert sizes == [["job-0", "job-1", "job-2"], ["job-3", "job-4", "job-5"], ["job-6"]]


def test_how_many_items_make_a_page() -> None:
    assert [fitting(sizes) for sizes in ([], [0], [PAGE_BYTES_MAX + 1, 0], [PAGE_BYTES_MAX, 0], [1] * 3)] == [
        0,
        1,
        1,
        2,
        3,
    ]
