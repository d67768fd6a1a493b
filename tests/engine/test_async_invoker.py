"""Asynchronous invocations on fakes: claimed when told, retried, expired, stopped, paced, and given back at the end.

Nothing waits for real time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.engine.conftest import Engine, build, settle
from tests.engine.test_resolver import publish
from tests.support.work_queue import FakeWorkQueue, Row

from sesame.engine.async_calls import ERROR_BODY_BYTES_MAX, ERROR_CHARS_MAX, RETURN_BYTES_MAX
from sesame.engine.async_invoker import (
    CLAIM_AGAIN_S,
    CLAIMED_AHEAD_MAX,
    TAKEN_AHEAD_MAX,
    WAITING_FOR_MACHINE_MAX,
    WAITING_PER_FUNCTION_MAX,
    AsyncInvoker,
)
from sesame.engine.async_pace import ADJUST_EVERY_S
from sesame.engine.async_policies import CALLS_PER_CORE
from sesame.engine.async_work import InvokerDependencies, MachineState, OtherPlaces, Place
from sesame.engine.policies import Caps
from sesame.model import records
from sesame.model.alias import Alias
from sesame.model.async_invocation import InvocationMeta, Leased, NewDelivery, State
from sesame.model.async_result import AsyncResult, Following
from sesame.model.configs import OnDemandConfig
from sesame.model.errors import CallerError, NotFound
from sesame.model.invocation import Invocation, Outcome, Target
from sesame.sandbox.interface import Call, KillReason, Reply, SandboxDied, SandboxStartFailed

LEASE_S = 60.0
CAPS = Caps(instances_per_function=16, memory_mb=16 * 128, starts_at_once=8, keep_alive_s=300)


@dataclass
class Setup:
    engine: Engine
    queue: FakeWorkQueue
    invoker: AsyncInvoker
    load: list[float]
    results: list[AsyncResult] = field(default_factory=list)

    async def work(self) -> None:
        self.queue.notify()
        await settle()

    async def until_due(self) -> None:
        """Moves the clock to when the next row is due, as the queue's timer does."""
        due = self.queue.next_due()
        assert due is not None
        self.engine.clocks.advance(max(due - self.engine.clocks.wall(), 0.0) + 1e-6)
        await self.work()


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    made = _build()
    yield made
    await asyncio.wait_for(made.invoker.close(0.0), 30)


def _build(caps: Caps = CAPS, cores: int = 2, others: Callable[[Engine], OtherPlaces] | None = None) -> Setup:
    engine = build(caps)
    engine.deploy()
    queue, load = FakeWorkQueue(engine.clocks), [0.0]
    results: list[AsyncResult] = []

    class GivenLoad:
        def sample(self) -> float:
            return load[0]

    async def follow(result: AsyncResult) -> Following:
        results.append(result)
        delivery = NewDelivery(destination="http://d/", record=b"{}", condition="Success")
        return Following((delivery,), "Pending")

    def wording(error: CallerError) -> tuple[int, str, str]:
        return (404, "FunctionNotFound", "no such function") if isinstance(error, NotFound) else (400, "X", str(error))

    invoker = AsyncInvoker(
        InvokerDependencies(
            queue=queue,
            engine=engine.local,
            clocks=engine.clocks,
            follow=follow,
            wording=wording,
            load=GivenLoad(),
            chance=lambda: 1.0,
            cores=cores,
            lease_s=LEASE_S,
            others=None if others is None else others(engine),
        )
    )
    invoker.start()
    return Setup(engine, queue, invoker, load, results)


def _fails(_sandbox: object, _call: Call) -> Reply:
    return Reply(False, b'{"errorMessage":"boom"}')


async def test_a_row_is_run_when_the_queue_tells_and_recorded_with_what_follows(setup: Setup) -> None:
    row = setup.queue.add(payload=b"hello")
    await setup.work()
    assert row.state is State.SUCCEEDED
    assert row.ending is not None
    assert row.ending.return_payload == b"echo:hello"
    assert row.ending.started_at == setup.engine.clocks.wall()
    assert (row.ending.error, row.ending.destination_status) == ("", "Pending")
    assert row.ending.instance_id.startswith("c-")
    assert len(row.then) == 1
    (result,) = setup.results
    assert (result.condition, result.executions, result.status_code) == ("Success", 1, 200)


async def test_what_is_leased_with_its_acceptance_runs_without_a_claim(setup: Setup) -> None:
    await settle()
    claims = setup.queue.claims
    rows = [setup.queue.add(payload=b"hello") for _ in range(3)]
    setup.queue.hand_over(rows)
    await settle()
    assert [row.state for row in rows] == [State.SUCCEEDED] * 3
    assert setup.queue.claims == claims


async def test_an_end_waits_for_others_only_while_there_are_others(setup: Setup) -> None:
    setup.queue.add()
    await setup.work()
    assert setup.queue.patient == [False]
    setup.engine.driver.behaviour = lambda _sandbox, call: Reply(True, b"") if call.payload == b"short" else None
    setup.queue.hand_over([setup.queue.add(payload=b"long"), setup.queue.add(payload=b"short")])
    await settle()
    assert setup.queue.patient == [False, True]


async def test_only_so_much_is_taken_ahead(setup: Setup) -> None:
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    assert setup.queue.room() == TAKEN_AHEAD_MAX
    setup.queue.hand_over([setup.queue.add(payload=b"e" * 100_000) for _ in range(200)])
    assert setup.queue.room() == 0, "the events have too many bytes"
    await settle()
    await setup.invoker.close(0.0)
    assert len(setup.queue.released) == 200, "what was taken goes back at the end"


async def test_what_is_leased_after_the_end_goes_back(setup: Setup) -> None:
    setup.invoker.quiesce()
    assert setup.queue.room() == 0
    row = setup.queue.add()
    setup.queue.hand_over([row], room=1)
    await setup.invoker.close(0.0)
    assert (row.state, setup.queue.released) == (State.ENQUEUED, [row.lease.seq])


async def test_of_a_large_result_the_beginning_is_kept_and_the_cut_is_told(setup: Setup) -> None:
    size = RETURN_BYTES_MAX + 1
    setup.engine.driver.behaviour = lambda _sandbox, call: Reply(True, b"x" * (size - 1 + len(call.payload)))
    whole, cut = setup.queue.add(payload=b""), setup.queue.add(payload=b"1")
    with capture_logs() as logs:
        await setup.work()
    assert whole.ending is not None
    assert cut.ending is not None
    assert (len(whole.ending.return_payload), whole.ending.return_bytes) == (RETURN_BYTES_MAX, None)
    assert (len(cut.ending.return_payload), cut.ending.return_bytes) == (RETURN_BYTES_MAX, size)
    (told,) = [entry for entry in logs if entry["event"] == "only the beginning of a result is kept"]
    assert (told["bytes"], told["invocation"]) == (size, "i-2")
    assert [len(result.response) for result in setup.results] == [RETURN_BYTES_MAX, size], "destinations get all of it"


async def test_of_a_long_error_body_the_beginning_is_shown(setup: Setup) -> None:
    body = b'{"errorMessage":"' + b"e" * ERROR_BODY_BYTES_MAX + b'"}'
    setup.engine.driver.behaviour = lambda _sandbox, _call: Reply(False, body)
    row = setup.queue.add(meta=InvocationMeta(max_retries=0))
    await setup.work()
    assert row.ending is not None
    assert row.ending.error.startswith('UnhandledInvocationError: {"errorMessage":"eee')
    assert (len(row.ending.error), row.ending.error[-1]) == (ERROR_CHARS_MAX, "…")


async def test_an_idle_invoker_asks_nothing_of_the_queue_and_sets_no_timer(setup: Setup) -> None:
    await settle()
    before = setup.queue.claims
    setup.engine.clocks.advance(3600)
    await settle()
    assert setup.queue.claims == before
    assert not setup.engine.clocks.timers


async def test_a_function_error_is_retried_with_growing_waits_and_told_how_often(setup: Setup) -> None:
    setup.engine.driver.behaviour = _fails
    row = setup.queue.add()
    await setup.work()
    waits = []
    while row.state is State.RETRYING:
        waits.append(round(row.not_before - setup.engine.clocks.wall(), 3))
        await setup.until_due()
    assert waits == pytest.approx([1, 2, 4], abs=0.01)
    assert row.state is State.FAILED
    assert row.errors == ["UnhandledInvocationError: boom"] * 3
    assert row.durations_ms == [0.0] * 3
    calls = [call for sandbox in setup.engine.driver.made for call in sandbox.calls]
    assert [call.meta["retry_count"] for call in calls] == [0, 1, 2, 3]
    (result,) = setup.results
    assert (result.condition, result.function_error) == ("UnhandledInvocationError",) * 2
    assert (result.executions, result.response) == (4, b'{"errorMessage":"boom"}')


async def test_no_retry_where_none_is_configured(setup: Setup) -> None:
    setup.engine.driver.behaviour = _fails
    row = setup.queue.add(meta=InvocationMeta(max_retries=0))
    await setup.work()
    assert (row.state, len(setup.queue.starts)) == (State.FAILED, 1)


async def test_a_killed_instance_is_a_counted_error(setup: Setup) -> None:
    setup.engine.driver.behaviour = lambda _sandbox, _call: SandboxDied("killed")
    row = setup.queue.add()
    await setup.work()
    assert (row.state, row.lease.attempts, row.lease.throttles) == (State.RETRYING, 1, 0)


async def test_a_start_that_fails_is_not_counted(setup: Setup) -> None:
    setup.engine.driver.refuse = 1000
    setup.engine.driver.failure = SandboxStartFailed("the zygote is gone")
    row = setup.queue.add()
    await setup.work()
    assert (row.state, row.lease.attempts, row.lease.throttles) == (State.RETRYING, 0, 1)
    assert (row.durations_ms, setup.queue.starts) == ([None], []), "it did not run"
    setup.engine.driver.refuse = 0
    setup.engine.clocks.advance(120)
    await setup.work()
    assert row.state is State.SUCCEEDED


async def test_a_failure_of_the_server_is_not_counted_and_waits_longer_each_time(setup: Setup) -> None:
    setup.engine.credentials_fail.append(RuntimeError("a bug"))
    row, waits = setup.queue.add(), []
    await setup.work()
    for _ in range(4):
        waits.append(row.not_before - setup.engine.clocks.wall())
        await setup.until_due()
    assert waits == pytest.approx([0.5, 1, 2, 4], abs=0.01)
    assert row.lease.attempts == 0
    setup.engine.credentials_fail.clear()
    await setup.until_due()
    assert row.state is State.SUCCEEDED


async def test_a_function_that_is_gone_fails_at_once_with_the_apis_error(setup: Setup) -> None:
    row = setup.queue.add("gone")
    await setup.work()
    assert row.ending is not None
    assert (row.state, row.ending.error) == (State.FAILED, "FunctionNotFound: no such function")
    (result,) = setup.results
    assert (result.condition, result.status_code, result.executions) == ("FunctionNotFound", 404, 0)
    assert (row.ending.started_at, setup.queue.starts) == (None, []), "it never ran"


async def test_an_event_that_is_too_old_is_not_run(setup: Setup) -> None:
    row = setup.queue.add(expires_at=setup.engine.clocks.wall() + 10, meta=InvocationMeta(max_age_s=10))
    row.not_before = setup.engine.clocks.wall() + 11
    await setup.until_due()
    assert (row.state, setup.queue.starts) == (State.EXPIRED, [])
    assert setup.results[0].condition == "EventAgeExceeded"
    assert row.ending is not None
    assert row.ending.error == "it became older than its maximum age of 10 s: no attempt ended"


async def test_what_expires_after_attempts_says_how_many_and_the_last_error(setup: Setup) -> None:
    setup.engine.driver.behaviour = _fails
    row = setup.queue.add(expires_at=setup.engine.clocks.wall() + 2)
    while row.ending is None:
        await setup.work()
        if row.ending is None:
            await setup.until_due()
    text = (
        "it became older than its maximum age of 86400 s: 2 attempts failed; the last error: "
        "UnhandledInvocationError: boom"
    )
    assert (row.state, row.ending.error) == (State.EXPIRED, text)
    body = {"errorMessage": text, "errorType": "EventAgeExceeded"}
    assert msgspec.json.decode(setup.results[0].response) == body, "its destination is told, too"
    assert setup.results[0].executions == 2


async def test_what_expires_for_want_of_capacity_says_so(setup: Setup) -> None:
    setup.engine.driver.refuse = 1000
    setup.engine.driver.failure = SandboxStartFailed("the zygote is gone")
    row = setup.queue.add(expires_at=setup.engine.clocks.wall() + 0.5)
    while row.ending is None:
        await setup.work()
        if row.ending is None:
            await setup.until_due()
    assert "0 attempts failed, 1 attempt could not start the function; the last error: " in row.ending.error
    assert setup.results[0].executions == 0


async def test_a_retry_is_not_put_off_beyond_the_age_of_the_event(setup: Setup) -> None:
    setup.engine.driver.behaviour = _fails
    row = setup.queue.add(expires_at=setup.engine.clocks.wall() + 2)
    await setup.work()
    await setup.until_due()
    await setup.until_due()
    assert (row.state, len(setup.queue.starts)) == (State.EXPIRED, 2)


async def test_a_stop_kills_the_instance_that_runs_it_and_no_other(setup: Setup) -> None:
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    first, second = setup.queue.add(payload=b"1"), setup.queue.add(payload=b"2")
    await setup.work()
    (of_first,) = [s for s in setup.engine.driver.made if s.calls and s.calls[0].payload == b"1"]
    (of_second,) = [s for s in setup.engine.driver.made if s.calls and s.calls[0].payload == b"2"]
    setup.engine.clocks.advance(2.5)
    setup.queue.stop(first)
    await settle()
    assert (first.state, of_first.alive, of_first.killed_for) == (State.STOPPED, False, KillReason.CANCELED)
    assert first.ending is not None
    assert (first.ending.duration_ms, first.ending.error) == (2500, "stopped while it ran")
    assert first.ending.instance_id == first.instance_id != second.instance_id != ""
    assert (second.state, of_second.alive) == (State.RUNNING, True)
    of_second.answer()
    await settle()
    assert second.state is State.SUCCEEDED
    logged = b"".join(data for _source, request_id, data in setup.engine.kept if request_id == "r-1")
    assert b"Invocation stopped" in logged


async def test_what_is_stopped_before_it_starts_never_starts(setup: Setup) -> None:
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    rows = [setup.queue.add() for _ in range(6)]
    await setup.work()
    assert len(setup.queue.starts) == 4, "two for each core"
    setup.queue.stop(rows[5])
    await settle()
    assert rows[5].state is State.STOPPED
    assert 6 not in setup.queue.starts


async def test_what_is_claimed_again_before_its_retry_is_told_of_goes_back(setup: Setup) -> None:
    setup.engine.driver.behaviour = _fails
    row, retry = setup.queue.add(), setup.queue.retry
    released: list[int] = []
    release = setup.queue.release

    async def retry_and_be_claimed(lease: Leased, _not_before: float, **how: Any) -> bool:
        done = await retry(lease, setup.engine.clocks.wall(), **how)
        setup.queue.notify()
        await settle()
        return done

    async def note_and_release(leases: Sequence[Leased]) -> None:
        released.extend(lease.seq for lease in leases)
        setup.queue.retry = retry  # type: ignore[method-assign]
        await release(leases)

    setup.queue.retry = retry_and_be_claimed  # type: ignore[method-assign, assignment]
    setup.queue.release = note_and_release  # type: ignore[method-assign]
    await setup.work()
    await settle()
    assert released == [row.lease.seq]
    await setup.work()
    assert row.lease.attempts >= 2, "it runs again at once, not when a lease ends"


async def test_a_stop_that_comes_while_the_row_is_being_claimed_is_heeded(setup: Setup) -> None:
    row = setup.queue.add()
    setup.queue.notify()
    claim, setup.queue.claim = setup.queue.claim, None  # type: ignore[assignment, method-assign]

    async def claim_and_be_stopped(limit: int) -> list:
        leases = await claim(limit)
        setup.queue.stop(row)
        return leases

    setup.queue.claim = claim_and_be_stopped  # type: ignore[method-assign]
    await settle()
    assert (row.state, setup.queue.starts) == (State.STOPPED, [])


async def test_a_result_outlasts_a_queue_that_cannot_be_written(setup: Setup) -> None:
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    row = setup.queue.add()
    await setup.work()
    setup.queue.fail = OSError("the database is gone")
    setup.engine.driver.made[0].answer(b"kept")
    await settle()
    for _ in range(5):
        setup.engine.clocks.advance(15)
        await settle()
    assert row.state is State.RUNNING
    setup.queue.fail = None
    setup.engine.clocks.advance(15)
    await settle()
    assert row.ending is not None
    assert row.ending.return_payload == b"kept"
    assert len(setup.queue.starts) == 1


async def test_nothing_is_started_while_results_cannot_be_written(setup: Setup) -> None:
    setup.engine.deploy(timeout=3600)
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    rows = [setup.queue.add() for _ in range(6)]
    await setup.work()
    setup.queue.fail = OSError("the database is gone")
    setup.engine.driver.made[0].answer()
    await settle()
    assert len(setup.queue.starts) == 5, (
        "one was started when the call ended, before its result was found not to be kept"
    )
    for sandbox in setup.engine.driver.alive:
        if sandbox.hanging:
            sandbox.answer()
    await settle()
    setup.engine.clocks.advance(30)
    await settle()
    assert len(setup.queue.starts) == 5
    setup.queue.fail = None
    setup.engine.driver.behaviour = lambda _sandbox, _call: Reply(True, b"")
    setup.engine.clocks.advance(1)
    await settle()
    assert {row.state for row in rows} == {State.SUCCEEDED}
    assert sorted(setup.queue.starts) == [1, 2, 3, 4, 5, 6]


async def test_a_claim_that_fails_is_made_again(setup: Setup) -> None:
    setup.queue.fail = OSError("the database is gone")
    row = setup.queue.add()
    await setup.work()
    setup.queue.fail = None
    setup.engine.clocks.advance(CLAIM_AGAIN_S)
    await settle()
    assert row.state is State.SUCCEEDED


async def test_leases_of_long_calls_are_extended_and_a_lost_one_ends_its_call(setup: Setup) -> None:
    setup.engine.deploy(timeout=3600)
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    row = setup.queue.add()
    await setup.work()
    setup.engine.clocks.advance(LEASE_S)
    await settle()
    assert setup.engine.driver.made[0].alive
    setup.queue.lost.add(row.lease.seq)
    setup.engine.clocks.advance(LEASE_S)
    await settle()
    assert not setup.engine.driver.made[0].alive


async def test_what_is_claimed_again_while_it_runs_is_not_run_twice(setup: Setup) -> None:
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    row = setup.queue.add()
    await setup.work()
    row.held = False
    await setup.work()
    assert len(setup.queue.starts) == 1
    setup.engine.driver.made[0].answer()
    await settle()
    assert row.state is State.SUCCEEDED, "recorded under the newer lease"


async def test_more_run_at_a_time_while_the_machine_has_time(setup: Setup) -> None:
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    for _ in range(30):
        setup.queue.add()
    await setup.work()
    seen = [setup.invoker.running]
    for _ in range(3):
        setup.engine.clocks.advance(ADJUST_EVERY_S + 0.01)
        await settle()
        seen.append(len(setup.queue.starts))
    assert seen == [4, 8, 12, 12], "up to three quarters of the function's 16 instances"


async def test_synchronous_calls_take_the_machine_from_a_busy_queue(setup: Setup) -> None:
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    setup.load[0] = 1.0
    for _ in range(12):
        setup.queue.add()
    waiting = asyncio.create_task(setup.engine.call(request_id="sync"))
    await settle()
    await setup.work()
    for _ in range(20):
        setup.engine.clocks.advance(ADJUST_EVERY_S + 0.01)
        for sandbox in list(setup.engine.driver.alive):
            if sandbox.hanging and sandbox.calls[-1].request_id != "sync":
                sandbox.answer()
        await settle()
        if len(setup.queue.starts) > 4:
            assert setup.invoker.running <= 1
    assert setup.invoker.running <= 1
    assert len(setup.queue.starts) < 24
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_a_function_at_its_cap_does_not_hold_up_others(setup: Setup) -> None:
    made = _build(Caps(instances_per_function=1, memory_mb=16 * 128, starts_at_once=8, keep_alive_s=300))
    made.engine.deploy("g")
    made.engine.driver.behaviour = lambda _sandbox, call: Reply(True, b"") if call.payload == b"g" else None
    slow = [made.queue.add() for _ in range(CLAIMED_AHEAD_MAX)]
    quick = made.queue.add("g", b"g")
    await made.work()
    assert quick.state is State.SUCCEEDED
    states = [row.state for row in slow]
    assert states.count(State.RUNNING) == 1
    assert states.count(State.DEQUEUED) == WAITING_PER_FUNCTION_MAX
    assert {row.lease.attempts for row in slow} == {0}
    made.engine.driver.made[0].answer()
    await settle()
    assert [row.state for row in slow].count(State.RUNNING) == 1, "the next one follows without a wait"
    await made.invoker.close(0.0)


@pytest.mark.parametrize("early", [True, False])
async def test_who_hurries_the_end_has_calls_go_back_at_once(setup: Setup, early: bool) -> None:
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    row: Row = setup.queue.add()
    await setup.work()
    closing = asyncio.create_task(setup.invoker.close(10.0))
    if not early:
        await settle()
        assert not closing.done()
    setup.invoker.hurry()
    await asyncio.wait_for(closing, 60)
    assert row.state == State.ENQUEUED
    assert row.lease.attempts == 0


async def test_at_the_end_nothing_starts_what_waits_goes_back_and_what_runs_has_its_time(setup: Setup) -> None:
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    rows: list[Row] = [setup.queue.add(payload=str(i).encode()) for i in range(6)]
    await setup.work()
    closing = asyncio.create_task(setup.invoker.close(10.0))
    await settle()
    assert setup.queue.released == [5, 6]
    setup.engine.driver.made[0].answer()
    await settle()
    setup.engine.clocks.advance(10.0)
    await closing
    states = sorted(row.state for row in rows)
    assert states == [State.ENQUEUED] * 5 + [State.SUCCEEDED]
    assert {row.lease.attempts for row in rows} == {0}
    assert not [sandbox for sandbox in setup.engine.driver.alive if sandbox.hanging]
    setup.queue.add()
    setup.queue.notify()
    await settle()
    assert len(setup.queue.starts) == 4


class _Busy:
    """Of a machine, its calls and its load."""

    calls_in_flight = calls_ended = 0

    def sample(self) -> float:
        return 1.0


@dataclass
class _OtherMachine:
    """As `OtherPlaces` and its one `Place`: an agent on machine 2, which runs all functions but `g`."""

    engine: Engine
    agent = machine = 2
    ran: int = 0
    # Of an alias, what is drawn next, and what ran.
    chances: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.states = {number: MachineState(_Busy(), _Busy(), 1, ADJUST_EVERY_S) for number in (0, 2)}

    def may_run(self, target: Target) -> Sequence[Place]:
        return () if target.function == "g" else (self,)

    def version_drawn(self, target: Target, before: str) -> str:
        return before or (self.chances.pop(0) if target.qualifier == "prod" else "")

    def concurrency(self, _target: Target) -> int:
        return 1

    def idle_here(self, _target: Target) -> int:
        return 0

    def memory_left(self, _machine: int) -> int:
        return 0

    def machines(self) -> Mapping[int, MachineState]:
        return self.states

    def idle(self, _target: Target) -> int:
        return 1

    def invoke(
        self, invocation: Invocation, entered: Callable[[], None], began: Callable[[str], None]
    ) -> Awaitable[Outcome]:
        entered()
        self.ran += 1
        self.versions.append(invocation.version)
        return self.engine.local.invoke(invocation, began)


async def test_what_waits_for_one_machine_does_not_hold_up_what_others_run() -> None:
    there: list[_OtherMachine] = []

    def others(engine: Engine) -> OtherPlaces:
        there.append(_OtherMachine(engine))
        return there[0]

    setup = _build(others=others)
    setup.engine.deploy("g")
    setup.engine.driver.behaviour = lambda _sandbox, call: Reply(True, b"") if call.payload == b"short" else None
    rows = [setup.queue.add("g") for _ in range(2 * CLAIMED_AHEAD_MAX)]
    other = [setup.queue.add("f", payload=b"short") for _ in range(3)]
    await setup.work()
    await setup.work()
    assert [row.state for row in other] == [State.SUCCEEDED] * 3
    assert there[0].ran == 3
    waits = [row for row in rows if row.held]
    assert len(waits) == CALLS_PER_CORE + WAITING_FOR_MACHINE_MAX
    assert all(row.state is State.RETRYING for row in rows if not row.held)
    await asyncio.wait_for(setup.invoker.close(0.0), 30)


async def test_the_version_of_a_canary_is_drawn_once_for_an_attempt_however_long_that_waits() -> None:
    there: list[_OtherMachine] = []

    def others(engine: Engine) -> OtherPlaces:
        there.append(_OtherMachine(engine))
        return there[0]

    setup = _build(Caps(instances_per_function=1, memory_mb=4096, starts_at_once=2, keep_alive_s=300), others=others)
    for version in ("1", "2"):
        publish(setup.engine, version, f"code {version}")
    alias = Alias(alias_name="prod", version_id="1", additional_version_weight={"2": 0.5})
    setup.engine.catalog.put(records.ALIAS, "s", "prod", alias)
    there[0].chances = ["2"] * 3
    setup.engine.driver.behaviour = lambda _sandbox, _call: None
    rows = [setup.queue.add(target=Target("s", "prod", "f")) for _ in range(3)]
    for _ in rows:
        await setup.work()
        await setup.work()
        (sandbox,) = setup.engine.driver.alive
        sandbox.answer()
        await setup.work()
    assert [row.state for row in rows] == [State.SUCCEEDED] * 3
    assert (there[0].versions, there[0].chances) == (["2"] * 3, [])
    await asyncio.wait_for(setup.invoker.close(0.0), 30)


async def test_calls_of_a_function_at_its_cap_take_the_places_of_its_instance_and_leave_some(setup: Setup) -> None:
    engine, places = setup.engine, 10
    engine.deploy("several", runtime="custom", instance_concurrency=places)
    resource = "services/s.LATEST/functions/several"
    engine.catalog.put(records.ON_DEMAND_CONFIG, "", resource, OnDemandConfig(resource, 1))
    engine.driver.behaviour = lambda _sandbox, call: None if call.kind == "invoke" else Reply(True, b"")
    setup.load[0] = 0.0
    for _ in range(places):
        setup.queue.add(function="several")
    await setup.work()
    for _ in range(4):
        engine.clocks.advance(ADJUST_EVERY_S)
        await settle()
    (instance,) = engine.pool.instances()
    assert instance.calls == int(0.75 * places)
    synchronous = [asyncio.create_task(engine.call("several")) for _ in range(places - instance.calls)]
    await settle()
    assert instance.calls == places
    assert not any(call.done() for call in synchronous), "none is refused"
    for call in synchronous:
        call.cancel()
    await asyncio.wait(synchronous)
