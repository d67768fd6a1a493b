"""The life of an invocation in the queue: accepted once, leased to one holder, ended once.

Run by pytest.
"""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store.queue.conftest import Opener
from tests.support.fakes import FakeClocks
from tests.support.invocations import TARGET, ended, new_invocation

from sesame.model.async_invocation import (
    AsyncQuery,
    InvocationMeta,
    Leased,
    NewDelivery,
    NewInvocation,
    State,
    StopResult,
)
from sesame.model.errors import Invalid, PlatformError
from sesame.model.invocation import Target
from sesame.store.queue.batching import COMPANY_MAX
from sesame.store.queue.leases import LEASE_S
from sesame.store.queue.queue import InvocationQueue
from sesame.store.sql.database import Database


async def put(queue: InvocationQueue, clocks: FakeClocks, **fields: Any) -> NewInvocation:
    new = new_invocation(clocks, **fields)
    assert await queue.enqueue([new]) == [True]
    return new


async def state_of(queue: InvocationQueue, new: NewInvocation) -> State:
    record = await queue.get(new.target, new.invocation_id)
    assert record is not None
    return record.state


async def test_what_is_accepted_is_claimed_with_everything_that_it_came_with(
    queue: InvocationQueue, clocks: FakeClocks
) -> None:
    meta = InvocationMeta(tracing={"a": "b"}, http_params={"method": "GET"}, chain=("s/f",))
    new = await put(queue, clocks, payload=b"\x00\xff", meta=meta, source="timer:t", target=Target("s", "1", "f"))
    (lease,) = await queue.claim(10)
    assert (lease.target, lease.invocation_id, lease.request_id) == (new.target, new.invocation_id, new.request_id)
    assert (lease.payload, lease.meta, lease.source, lease.stateful) == (b"\x00\xff", meta, "timer:t", True)
    assert (lease.attempts, lease.throttles, lease.epoch) == (0, 0, 1)
    assert lease.expires_at == pytest.approx(new.expires_at)
    assert await queue.claim(10) == []


async def test_an_id_is_accepted_once_for_each_function_and_qualifier(
    queue: InvocationQueue, clocks: FakeClocks
) -> None:
    new = new_invocation(clocks)
    assert await queue.enqueue([new, new]) == [True, False]
    assert await asyncio.gather(queue.enqueue([new]), queue.enqueue([new])) == [[False], [False]]
    other = new_invocation(clocks, invocation_id=new.invocation_id, target=Target("service", "alias", "function"))
    assert await queue.enqueue([other]) == [True]
    (first, second) = await queue.claim(10)
    for lease in (first, second):
        assert await queue.finish(lease, ended(clocks))
    assert await queue.enqueue([new]) == [False], "also when it has ended"
    assert await queue.prune(clocks.wall() + 1) == 2
    assert await queue.enqueue([new]) == [True], "but not when it is forgotten"


async def test_ids_of_the_server_are_not_compared(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = new_invocation(clocks, stateful=False)
    stateful = new_invocation(clocks, invocation_id=new.invocation_id)
    assert await queue.enqueue([new, stateful, stateful, new]) == [True, True, False, True]
    assert await queue.stop(TARGET, new.invocation_id) is StopResult.STOPPED
    leases = await queue.claim(5)
    assert [lease.stateful for lease in leases] == [False, False]
    for lease in leases:
        assert await queue.finish(lease, ended(clocks))


async def test_the_queue_is_first_in_first_out(queue: InvocationQueue, clocks: FakeClocks) -> None:
    late = await put(queue, clocks, not_before=clocks.wall() + 5)
    news = [await put(queue, clocks) for _ in range(5)]
    leases = [*await queue.claim(2), *await queue.claim(10)]
    assert [lease.invocation_id for lease in leases] == [new.invocation_id for new in news]
    clocks.advance(5)
    assert [lease.invocation_id for lease in await queue.claim(10)] == [late.invocation_id]


async def test_an_ending_is_recorded_whole(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = await put(queue, clocks)
    (lease,) = await queue.claim(1)
    began = clocks.wall()
    queue.started(lease, "c-1")
    clocks.advance(2)
    ending = ended(
        clocks, State.FAILED, started_at=began, error="no\0 \ud800", return_payload=b"\xff\x00", return_bytes=9,
        instance_id="i",
        duration_ms=2000.0, destination_status="Pending",
    )  # fmt: skip
    assert await queue.finish(lease, ending)
    record = await queue.get(new.target, new.invocation_id)
    assert record is not None
    assert (record.state, record.ended_at, record.started_at) == (State.FAILED, clocks.wall(), began)
    assert (record.error, record.return_payload, record.return_bytes) == ("no\ufffd ?", b"\xff\x00", 9)
    assert record.payload == b"event"
    assert (record.instance_id, record.duration_ms, record.destination_status) == ("i", 2000.0, "Pending")
    assert [event.status for event in record.events] == ["Enqueued", "Dequeued", "Running", "Failed"]
    assert [event.event_id for event in record.events] == [1, 2, 3, 4]
    assert record.events[-1].detail == record.error
    assert await queue.claim(1) == []


async def test_a_call_that_lasts_is_recorded_as_running(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = await put(queue, clocks)
    (lease,) = await queue.claim(1)
    queue.started(lease, "c-1")
    assert await state_of(queue, new) is State.RUNNING, "who reads sees what was started"
    running = await queue.get(new.target, new.invocation_id)
    assert running is not None
    assert running.instance_id == "c-1"
    other = await put(queue, clocks)
    (lease,) = await queue.claim(1)
    queue.started(lease, "c-1")
    clocks.advance(0.1)
    page = await queue.page(AsyncQuery(target=TARGET, status=State.RUNNING))
    assert {item.invocation_id for item in page.items} == {new.invocation_id, other.invocation_id}


async def test_the_end_and_its_consequences_are_one_commit(
    queue: InvocationQueue, clocks: FakeClocks, database: Database
) -> None:
    new = await put(queue, clocks)
    (lease,) = await queue.claim(1)
    then = new_invocation(clocks, source="destination")
    record = NewDelivery(destination="https://example.com/", record=b"{}", condition="Success")
    assert await queue.finish(lease, ended(clocks, destination_status="Pending"), [then, record])
    (next_lease,) = await queue.claim(5)
    assert (next_lease.invocation_id, next_lease.source) == (then.invocation_id, "destination")
    (delivery,) = await queue.deliveries.claim(5)
    assert (delivery.target, delivery.invocation_id, delivery.record) == (new.target, new.invocation_id, b"{}")


async def test_a_late_answer_changes_nothing(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = await put(queue, clocks)
    (late,) = await queue.claim(1)
    clocks.advance(LEASE_S + 1)
    (lease,) = await queue.claim(1)
    assert lease.epoch > late.epoch
    then = new_invocation(clocks)
    assert not await queue.finish(late, ended(clocks), [then])
    assert not await queue.retry(late, clocks.wall(), counted=True)
    assert await queue.extend([late, lease]) == [False, True]
    await queue.release([late])
    queue.started(late, "c-1")
    assert await state_of(queue, new) is State.DEQUEUED
    assert await queue.get(then.target, then.invocation_id) is None
    assert await queue.finish(lease, ended(clocks))
    assert not await queue.finish(lease, ended(clocks)), "nor does a second one"
    assert await state_of(queue, new) is State.SUCCEEDED


async def test_two_answers_to_one_lease_at_once_are_one(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = await put(queue, clocks)
    (lease,) = await queue.claim(1)
    answers = (
        queue.finish(lease, ended(clocks), [new_invocation(clocks)]),
        queue.finish(lease, ended(clocks, State.FAILED), [new_invocation(clocks)]),
        queue.retry(lease, clocks.wall(), counted=True),
    )
    assert sorted(await asyncio.gather(*answers)) == [False, False, True]
    assert await state_of(queue, new) in (State.SUCCEEDED, State.RETRYING)


async def test_an_extended_lease_is_kept(queue: InvocationQueue, clocks: FakeClocks) -> None:
    await put(queue, clocks)
    (lease,) = await queue.claim(1)
    for _ in range(3):
        clocks.advance(LEASE_S - 1)
        assert await queue.extend([lease]) == [True]
        assert await queue.claim(1) == []
    assert await queue.finish(lease, ended(clocks))


async def test_retries_wait_and_are_counted_apart(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = await put(queue, clocks)
    (lease,) = await queue.claim(1)
    assert await queue.retry(lease, clocks.wall() + 10, counted=True, error="boom")
    assert await state_of(queue, new) is State.RETRYING
    assert await queue.claim(1) == []
    clocks.advance(10)
    (lease,) = await queue.claim(1)
    assert (lease.attempts, lease.throttles, lease.last_error) == (1, 0, "boom")
    assert await queue.retry(lease, clocks.wall(), counted=False, error="full")
    (lease,) = await queue.claim(1)
    assert (lease.attempts, lease.throttles, lease.last_error) == (1, 1, "full")


async def test_what_waits_for_its_next_attempt_shows_the_last_one(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = await put(queue, clocks)
    (lease,) = await queue.claim(1)
    queue.started(lease, "c-1")
    began = clocks.wall()
    clocks.advance(3)
    assert await queue.retry(lease, clocks.wall() + 10, counted=True, error="boom", duration_ms=3000.0)
    clocks.advance(11)
    (lease,) = await queue.claim(1)
    assert await queue.retry(lease, clocks.wall() + 20, counted=False, error="full")
    found = await queue.get(new.target, new.invocation_id)
    assert found is not None
    assert (found.state, found.attempts, found.throttles, found.error) == (State.RETRYING, 1, 1, "full")
    assert (found.started_at, found.instance_id, found.duration_ms) == (began, "c-1", 3000.0), "of the last that ran"
    assert found.next_at == pytest.approx(clocks.wall() + 20)
    clocks.advance(21)
    (lease,) = await queue.claim(1)
    assert await queue.finish(lease, ended(clocks, State.EXPIRED, error="too old"))
    found = await queue.get(new.target, new.invocation_id)
    assert found is not None
    assert (found.started_at, found.instance_id, found.duration_ms) == (began, "c-1", 3000.0), "it did not run again"


async def test_what_runs_again_shows_nothing_of_the_attempt_before(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = await put(queue, clocks)
    for instance_id in ("c-1", "c-2"):
        (lease,) = await queue.claim(1)
        queue.started(lease, instance_id)
        found = await queue.get(new.target, new.invocation_id)
        assert found is not None
        assert (found.state, found.instance_id, found.duration_ms) == (State.RUNNING, instance_id, 0.0)
        assert await queue.retry(lease, clocks.wall(), counted=True, error="boom", duration_ms=3000.0)


async def test_what_is_stopped_while_its_function_fails_says_how_long_it_ran(
    queue: InvocationQueue, clocks: FakeClocks
) -> None:
    new = await put(queue, clocks)
    (lease,) = await queue.claim(1)
    queue.started(lease, "c-1")
    assert await queue.stop(new.target, new.invocation_id) is StopResult.STOPPING
    assert await queue.retry(lease, clocks.wall(), counted=True, error="boom", duration_ms=5.0)
    found = await queue.get(new.target, new.invocation_id)
    assert found is not None
    assert (found.state, found.duration_ms, found.instance_id) == (State.STOPPED, 5.0, "c-1")


async def test_what_is_given_back_is_claimed_again_at_once(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = await put(queue, clocks)
    (lease,) = await queue.claim(1)
    await queue.release([lease])
    assert await state_of(queue, new) is State.ENQUEUED
    assert not await queue.finish(lease, ended(clocks))
    (again,) = await queue.claim(1)
    assert (again.attempts, again.throttles) == (0, 0)


async def test_a_claim_whose_waiter_has_left_is_given_back(queue: InvocationQueue, clocks: FakeClocks) -> None:
    await put(queue, clocks)
    claim = asyncio.create_task(queue.claim(1))
    await asyncio.sleep(0)
    claim.cancel()
    await asyncio.gather(claim, return_exceptions=True)
    await queue.close()
    assert len(await queue.claim(1)) == 1


async def test_stopping(queue: InvocationQueue, clocks: FakeClocks) -> None:
    stopped: list[int] = []
    queue.on_stop(stopped.append)
    assert await queue.stop(TARGET, "unknown") is StopResult.NOT_FOUND
    waiting, delayed = await put(queue, clocks), await put(queue, clocks, not_before=clocks.wall() + 9)
    for new in (waiting, delayed):
        assert await queue.stop(new.target, new.invocation_id) is StopResult.STOPPED
        assert await state_of(queue, new) is State.STOPPED
        assert await queue.stop(new.target, new.invocation_id) is StopResult.FINISHED
    clocks.advance(10)
    assert await queue.claim(5) == []
    running = await put(queue, clocks)
    (lease,) = await queue.claim(1)
    assert stopped == []
    assert await queue.stop(running.target, running.invocation_id) is StopResult.STOPPING
    assert stopped == [lease.seq]
    assert await state_of(queue, running) is State.STOPPING
    assert await queue.retry(lease, clocks.wall(), counted=True)
    assert await state_of(queue, running) is State.STOPPED, "it is not tried again"


async def test_stops_and_shows_what_is_not_stateful(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = await put(queue, clocks, stateful=False)
    assert await state_of(queue, new) is State.ENQUEUED
    assert await queue.stop(new.target, new.invocation_id) is StopResult.STOPPED
    assert await state_of(queue, new) is State.STOPPED
    assert await queue.claim(1) == []


async def test_what_was_told_to_stop_does_so_when_its_holder_is_gone(
    queue: InvocationQueue, clocks: FakeClocks, open_queue: Opener
) -> None:
    first, second = await put(queue, clocks), await put(queue, clocks)
    await queue.claim(1)
    await queue.stop(first.target, first.invocation_id)
    clocks.advance(LEASE_S + 1)
    (lease,) = await queue.claim(5)
    assert lease.invocation_id == second.invocation_id
    assert await state_of(queue, first) is State.STOPPED
    await queue.stop(second.target, second.invocation_id)
    following = await open_queue()
    assert await following.claim(5) == []
    assert await state_of(following, second) is State.STOPPED


async def test_a_start_ends_the_leases_of_the_process_before(
    queue: InvocationQueue, clocks: FakeClocks, open_queue: Opener
) -> None:
    new = await put(queue, clocks)
    (lease,) = await queue.claim(1)
    following = await open_queue()
    assert not await queue.finish(lease, ended(clocks)), "the process before has lost it"
    (again,) = await following.claim(1)
    assert again.invocation_id == new.invocation_id
    assert await following.finish(again, ended(clocks))


async def test_wakes_when_there_is_work_and_only_then(queue: InvocationQueue, clocks: FakeClocks) -> None:
    wakes: list[float] = []
    queue.on_work(lambda: wakes.append(clocks.monotonic()))
    await put(queue, clocks)
    assert len(wakes) == 1
    assert len(await queue.claim(5)) == 1
    begin = clocks.monotonic()
    for delay in (9.0, 3.0, 20.0):
        await put(queue, clocks, not_before=clocks.wall() + delay)
    assert len(wakes) == 1
    assert queue.next_due() == pytest.approx(clocks.wall() + 3)
    assert sum(not timer.cancelled for timer in clocks.timers) == 1, "one timer, whatever waits"
    for due in (3.0, 9.0, 20.0):
        while clocks.monotonic() < begin + due + 0.01:
            clocks.advance(0.5)
        assert wakes[-1] == pytest.approx(begin + due, abs=0.01)
        assert len(await queue.claim(5)) == 1
    assert len(wakes) == 4


async def test_what_is_due_is_leased_with_its_acceptance_while_nothing_older_waits(
    queue: InvocationQueue, clocks: FakeClocks, database: Database
) -> None:
    taken: list[Leased] = []
    room = [2]
    queue.on_accepted(lambda: room[0], taken.extend)
    older = await put(queue, clocks)
    assert taken == [], "something may wait that was there before"
    assert [lease.invocation_id for lease in await queue.claim(5)] == [older.invocation_id]
    meta = InvocationMeta(tracing={"a": "b"}, chain=("s/f",))
    news = [new_invocation(clocks, meta=meta, payload=b"\x00\xff", stateful=number != 1) for number in range(3)]
    later = new_invocation(clocks, not_before=clocks.wall() + 5)
    wakes: list[bool] = []
    queue.on_work(lambda: wakes.append(True))
    assert await queue.enqueue([later, *news, news[0]]) == [True, True, True, True, False]
    assert [lease.invocation_id for lease in taken] == [new.invocation_id for new in news[:2]], (
        "as many as there is room"
    )
    assert wakes == [True], "the others are to be claimed"
    for lease, new in zip(taken, news, strict=False):
        assert (lease.target, lease.request_id, lease.payload) == (new.target, new.request_id, new.payload)
        assert (lease.meta, lease.stateful, lease.attempts) == (new.meta, new.stateful, 0)
        record = await queue.get(new.target, new.invocation_id)
        assert record is not None
        assert (record.state, record.seq, record.epoch) == (State.DEQUEUED, lease.seq, lease.epoch)
        assert [event.status for event in record.events] == ["Enqueued", "Dequeued"]
    assert [lease.invocation_id for lease in await queue.claim(5)] == [news[2].invocation_id]
    assert await queue.finish(taken[0], ended(clocks))
    in_a_change = new_invocation(clocks)
    await database.write(lambda connection: queue.enqueue_in(connection, [in_a_change]), on_commit=queue.notify)
    await put(queue, clocks)
    assert len(taken) == 2
    assert len(await queue.claim(5)) == 2
    clocks.advance(LEASE_S)
    again = await queue.claim(10)
    assert {lease.seq for lease in again} > {taken[1].seq}, "a lease of this kind ends as others do"
    assert not await queue.finish(taken[1], ended(clocks))


async def test_an_id_that_is_there_is_not_leased_again(queue: InvocationQueue, clocks: FakeClocks) -> None:
    taken: list[Leased] = []
    queue.on_accepted(lambda: 10, taken.extend)
    assert await queue.claim(1) == []
    new = await put(queue, clocks)
    assert await queue.enqueue([new, new_invocation(clocks)]) == [False, True]
    assert len(taken) == 2


async def test_numbers_rise_with_acceptance_also_after_the_last_was_forgotten(
    queue: InvocationQueue, clocks: FakeClocks, open_queue: Opener
) -> None:
    await asyncio.gather(*(queue.enqueue([new_invocation(clocks)]) for _ in range(100)))
    leases = await queue.claim(100)
    assert len({lease.seq for lease in leases}) == 100
    for lease in leases:
        assert await queue.finish(lease, ended(clocks))
    assert await queue.prune(clocks.wall() + 1) == 100
    following = await open_queue()
    await put(following, clocks)
    (lease,) = await following.claim(5)
    assert lease.seq > max(each.seq for each in leases)


async def test_polls_in_case_a_wake_up_was_lost(queue: InvocationQueue, clocks: FakeClocks) -> None:
    wakes: list[float] = []
    queue.on_work(lambda: wakes.append(clocks.monotonic()))
    clocks.advance(95)
    assert len(wakes) == 3


async def test_enqueues_in_the_transaction_of_another_change(
    queue: InvocationQueue, clocks: FakeClocks, database: Database
) -> None:
    wakes: list[bool] = []
    queue.on_work(lambda: wakes.append(True))
    new, undone = new_invocation(clocks), new_invocation(clocks)

    def failing(connection: sa.Connection) -> None:
        queue.enqueue_in(connection, [undone])
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.write(failing)
    accepted = await database.write(lambda connection: queue.enqueue_in(connection, [new, new]), on_commit=queue.notify)
    assert accepted == [True, False]
    assert wakes == [True]
    assert [lease.invocation_id for lease in await queue.claim(5)] == [new.invocation_id]


@pytest.mark.parametrize(
    "fields",
    [
        {"invocation_id": "a\0b"},
        {"request_id": "\ud800"},
        {"target": Target("s\0", "LATEST", "f")},
        {"expires_at": float("nan")},
        {"not_before": float("inf")},
    ],
)
async def test_refuses_what_no_database_keeps(
    queue: InvocationQueue, clocks: FakeClocks, fields: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        await queue.enqueue([new_invocation(clocks, **fields)])


async def test_what_cannot_be_committed_is_not_accepted(
    queue: InvocationQueue, clocks: FakeClocks, database: Database
) -> None:
    await database.close()
    for _ in range(2):
        with pytest.raises(PlatformError):
            await queue.enqueue([new_invocation(clocks)])
        with pytest.raises(PlatformError):
            await queue.claim(1)


def counted_writes(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is written from now on: one entry for each request to the database."""
    requests: list[object] = []
    write = database.write

    async def counted(fn: Any, **kw: Any) -> Any:
        requests.append(fn)
        return await write(fn, **kw)

    monkeypatch.setattr(database, "write", counted)
    return requests


async def test_one_turn_of_the_loop_is_one_request_and_one_statement(
    queue: InvocationQueue, clocks: FakeClocks, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = counted_writes(database, monkeypatch)
    await asyncio.gather(*(queue.enqueue([new_invocation(clocks)]) for _ in range(50)))
    assert len(requests) == 1
    claimed = await asyncio.gather(*(queue.claim(5) for _ in range(11)))
    assert [len(leases) for leases in claimed] == [5] * 10 + [0]
    assert len(requests) == 2
    leases = [lease for leases in claimed for lease in leases]
    assert all(await asyncio.gather(*(queue.finish(lease, ended(clocks)) for lease in leases)))
    assert len(requests) == 3


async def test_ends_that_can_wait_share_the_commit_of_others(
    queue: InvocationQueue, clocks: FakeClocks, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[object] = []
    write = database.write

    async def counted(fn: Any, **kw: Any) -> Any:
        requests.append(fn)
        return await write(fn, **kw)

    await asyncio.gather(*(put(queue, clocks) for _ in range(COMPANY_MAX + 4)))
    leases = await queue.claim(COMPANY_MAX + 4)
    monkeypatch.setattr(database, "write", counted)
    ends = [asyncio.create_task(queue.finish(lease, ended(clocks), patient=True)) for lease in leases[:3]]
    await asyncio.sleep(0)
    assert await queue.finish(leases[3], ended(clocks))
    assert await asyncio.gather(*ends) == [True] * 3
    assert len(requests) == 1
    assert await queue.finish(leases[4], ended(clocks), patient=True), "also without another"
    ends = [asyncio.create_task(queue.finish(lease, ended(clocks), patient=True)) for lease in leases[5:]]
    await asyncio.sleep(0)
    await queue.close()
    assert [end.result() for end in ends] == [True] * (COMPANY_MAX - 1), "and at the end"


async def test_a_short_call_is_not_written_as_running(
    queue: InvocationQueue, clocks: FakeClocks, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(queue, clocks)
    (lease,) = await queue.claim(1)
    queue.started(lease, "c-1")
    requests = counted_writes(database, monkeypatch)
    assert await queue.finish(lease, ended(clocks))
    clocks.advance(1)
    await asyncio.sleep(0)
    assert len(requests) == 1


async def test_setting_the_clock_back_neither_stalls_nor_doubles_work(
    queue: InvocationQueue, clocks: FakeClocks, open_queue: Opener
) -> None:
    before = await put(queue, clocks)
    delayed = await put(queue, clocks, not_before=clocks.wall() + 30)
    held_one = await put(queue, clocks, not_before=clocks.wall() - 1)
    (held,) = await queue.claim(1)
    clocks.set_wall(clocks.wall() - 3600)
    after = await put(queue, clocks)
    taken = await queue.claim(10)
    ids = {before.invocation_id, held_one.invocation_id, after.invocation_id}
    assert {lease.invocation_id for lease in (held, *taken)} == ids
    assert len(taken) == 2
    clocks.advance(31)
    (late,) = await queue.claim(10)
    assert late.invocation_id == delayed.invocation_id, "a delay lasts as long as was asked for"
    assert clocks.wall() < late.expires_at < clocks.wall() + 86_400
    clocks.advance(LEASE_S)
    assert len(await queue.claim(10)) == 4, "leases end after their time"
    # And a process that starts then goes on at once.
    following = await open_queue()
    assert len(await following.claim(10)) == 4


async def test_setting_the_clock_ahead_ends_no_lease(queue: InvocationQueue, clocks: FakeClocks) -> None:
    await put(queue, clocks)
    (lease,) = await queue.claim(1)
    clocks.set_wall(clocks.wall() + 3600)
    assert await queue.claim(1) == []
    assert await queue.finish(lease, ended(clocks))


async def test_a_start_after_the_clock_was_set_back_keeps_delays(
    queue: InvocationQueue, clocks: FakeClocks, open_queue: Opener
) -> None:
    new = await put(queue, clocks)
    clocks.advance(2)
    delayed = await put(queue, clocks, not_before=clocks.wall() + 10)
    clocks.set_wall(clocks.wall() - 3600)
    following = await open_queue()
    (lease,) = await following.claim(5)
    assert lease.invocation_id == new.invocation_id
    clocks.advance(11)
    (lease,) = await following.claim(5)
    assert lease.invocation_id == delayed.invocation_id
