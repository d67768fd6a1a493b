"""Lists of invocations: every filter, both orders, tokens; functions that have any; what is forgotten.

Run by pytest, on every database.
"""

import itertools
import math
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.fakes import FakeClocks
from tests.support.invocations import TARGET, ended, new_invocation

from sesame.model.async_invocation import AsyncInvocation, AsyncQuery, State
from sesame.model.errors import Invalid
from sesame.model.invocation import Target
from sesame.store.queue.queue import InvocationQueue

OTHER = Target("service", "LATEST", "other")


async def filled(queue: InvocationQueue, clocks: FakeClocks) -> list[AsyncInvocation]:
    """Forty invocations, two in each second: of two functions, stateful and not, in five states; oldest first."""
    keys = []
    for number in range(40):
        if number % 2:
            clocks.advance(1)
        new = new_invocation(
            clocks,
            target=OTHER if number % 4 == 3 else TARGET,
            invocation_id=f"{'ab'[number % 3 == 0]}-{number:02}",
            stateful=number % 5 != 4,
        )
        assert await queue.enqueue([new]) == [True]
        keys.append((new.target, new.invocation_id))
    leases = await queue.claim(30)
    endings = itertools.cycle([State.SUCCEEDED, State.FAILED, State.STOPPED, None])
    for lease, state in zip(leases, endings, strict=False):
        if state is not None:
            assert await queue.finish(lease, ended(clocks, state))
    records = [await queue.get(*key) for key in keys]
    return [record for record in records if record is not None]


async def listed(queue: InvocationQueue, limit: int, **fields: Any) -> list[AsyncInvocation]:
    """Every page, one after the other."""
    items: list[AsyncInvocation] = []
    start = ""
    while True:
        page = await queue.page(AsyncQuery(limit=limit, start=start, **fields))
        assert len(page.items) <= limit
        items += page.items
        if page.next_token is None:
            return items
        assert len(page.items) == limit
        start = page.next_token


COMBINATIONS = list(
    itertools.product(
        [TARGET, None],
        [None, State.FAILED, State.ENQUEUED],
        ["", "a-", "a-3", "x"],
        [(-math.inf, math.inf), (3.0, 12.0)],
        [True, False],
    )
)


LATER = pytest.mark.torture


# All on one page for each combination; small pages for every nineteenth: among these is every value of each filter.
@pytest.mark.parametrize(
    ("limit", "each", "newest_first"),
    [
        *((1, 19, False), (7, 19, True), (100, 1, False), (100, 1, True)),
        *(pytest.param(1, 19, True, marks=LATER), pytest.param(7, 19, False, marks=LATER)),
    ],
)
async def test_every_filter_and_every_combination(
    queue: InvocationQueue, clocks: FakeClocks, limit: int, each: int, newest_first: bool
) -> None:
    records = await filled(queue, clocks)
    first = records[0].enqueued_at
    for target, status, prefix, (begin, end), stateful_only in COMBINATIONS[::each]:
        expected = [
            record.invocation_id
            for record in records
            if (target is None or record.target == target)
            and (status is None or record.state is status)
            and record.invocation_id.startswith(prefix)
            and begin <= record.enqueued_at - first <= end
            and (record.stateful or not stateful_only)
        ]
        found = await listed(
            queue,
            limit,
            target=target,
            status=status,
            id_prefix=prefix,
            started_from=first + begin if math.isfinite(begin) else None,
            started_to=first + end if math.isfinite(end) else None,
            stateful_only=stateful_only,
            newest_first=newest_first,
        )
        assert [record.invocation_id for record in found] == (expected[::-1] if newest_first else expected)


async def test_a_filter_of_the_time_that_was_shown_finds_it(queue: InvocationQueue, clocks: FakeClocks) -> None:
    for number in range(20):
        clocks.advance(0.000_777)
        new = new_invocation(clocks, target=Target("s", "1", f"f{number}"))
        await queue.enqueue([new])
        record = await queue.get(new.target, new.invocation_id)
        assert record is not None
        shown_ms = round(record.enqueued_at * 1000)
        query = AsyncQuery(target=new.target, started_from=shown_ms / 1000, started_to=shown_ms / 1000)
        assert len((await queue.page(query)).items) == 1


async def test_the_payload_is_read_when_it_is_asked_for(queue: InvocationQueue, clocks: FakeClocks) -> None:
    await queue.enqueue([new_invocation(clocks, payload=b"large")])
    (without,) = (await queue.page(AsyncQuery())).items
    (with_it,) = (await queue.page(AsyncQuery(with_payload=True))).items
    assert (without.payload, with_it.payload) == (None, b"large")


async def test_pages_stay_in_order_while_invocations_go_on(queue: InvocationQueue, clocks: FakeClocks) -> None:
    for _ in range(9):
        clocks.advance(1)
        await queue.enqueue([new_invocation(clocks)])
    seen: list[int] = []
    start = ""
    while True:
        page = await queue.page(AsyncQuery(start=start, limit=2))
        seen += [item.seq for item in page.items]
        for lease in await queue.claim(2):
            await queue.finish(lease, ended(clocks))
        await queue.enqueue([new_invocation(clocks)])
        if page.next_token is None:
            break
        start = page.next_token
        assert quote(start, safe="") == start, "it goes into a query as it is"
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 9, "what comes later is on no later page"


@pytest.mark.parametrize(
    "token", ["x", "1.0", "_", "0x1p+3_x", "0x1p+3_99999999999999999999", "nan_1", "é_1", "1_1_1", "1_٣"]
)
async def test_refuses_a_token_that_it_did_not_give(queue: InvocationQueue, token: str) -> None:
    with pytest.raises(Invalid, match="next_token"):
        await queue.page(AsyncQuery(start=token))


async def test_an_id_that_no_database_keeps_is_not_found(queue: InvocationQueue) -> None:
    assert await queue.get(TARGET, "a\0") is None
    assert (await queue.page(AsyncQuery(id_prefix="\ud800"))).items == ()


async def test_functions_with_stateful_invocations(queue: InvocationQueue, clocks: FakeClocks) -> None:
    names = [("b", "a", "LATEST"), ("a", "z", "1"), ("a", "z", "LATEST"), ("a", "é", "1"), ("B", "a", "1")]
    for service, function, qualifier in names * 3:
        await queue.enqueue([new_invocation(clocks, target=Target(service, qualifier, function))])
    await queue.enqueue([new_invocation(clocks, target=Target("none", "1", "none"), stateful=False)])
    targets = [Target(service, qualifier, function) for service, function, qualifier in sorted(names)]
    assert await queue.functions(("", "", ""), 10) == targets
    assert await queue.functions(("", "", ""), 2) == targets[:2]
    assert await queue.functions(("a", "z", "LATEST"), 10) == targets[2:]


async def test_what_ended_long_ago_is_forgotten_and_nothing_else(queue: InvocationQueue, clocks: FakeClocks) -> None:
    await queue.enqueue([new_invocation(clocks) for _ in range(4)])
    (early, late, _running) = await queue.claim(3)
    assert await queue.finish(early, ended(clocks, State.FAILED))
    clocks.advance(100)
    assert await queue.finish(late, ended(clocks))
    assert await queue.prune(clocks.wall() - 50) == 1
    left = (await queue.page(AsyncQuery())).items
    assert len(left) == 3
    assert early.seq not in {record.seq for record in left}
    clocks.advance(1)
    assert await queue.prune(clocks.wall()) == 1
    assert {record.state for record in (await queue.page(AsyncQuery())).items} == {State.DEQUEUED, State.ENQUEUED}
