"""Clients of a rate: how much each and all may, and that those who wait go on in turn.

Run by pytest, with clocks that a test moves.
"""

import asyncio
import gc
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.support.fakes import FakeClocks

from sesame.model.fair_rate import FairRate, Rates, Share

RATES = Rates(each_per_s=100, each_burst=10, all_per_s=300, all_burst=30)


class Client:
    """Takes whatever it is let, as a loop of connects does."""

    def __init__(self, share: Share, units: float = 1.0, most: int | None = None) -> None:
        self.share, self.units, self.most = share, units, most
        self.taken = 0
        self.go_on()

    def go_on(self) -> None:
        while self.share.allows():
            if self.taken == self.most:
                return
            self.taken += 1
            self.share.charge(self.units)
        if self.taken != self.most:
            self.share.wait(self.go_on)


async def test_one_client_has_its_burst_and_its_rate() -> None:
    clocks = FakeClocks()
    client = Client(FairRate(clocks, RATES).of("a"))
    assert client.taken == 10
    await clocks.pass_time(2.0)
    assert 10 + 190 <= client.taken <= 10 + 210


async def test_sockets_of_one_client_share_what_it_has() -> None:
    clocks = FakeClocks()
    rate = FairRate(clocks, RATES)
    first, second = Client(rate.of("a")), Client(rate.of("a"))
    await clocks.pass_time(2.0)
    assert first.taken + second.taken <= 10 + 210


async def test_dear_work_is_made_up_for_by_waiting() -> None:
    clocks = FakeClocks()
    client = Client(FairRate(clocks, RATES).of("a"), units=8)
    await clocks.pass_time(4.0)
    assert 8 * client.taken <= 10 + 400 + 8


async def test_all_together_are_bounded_and_each_gets_as_much() -> None:
    clocks = FakeClocks()
    rate = FairRate(clocks, RATES)
    clients = [Client(rate.of(f"busy-{number}")) for number in range(12)]
    await clocks.pass_time(1.0)
    before = [client.taken for client in clients]
    await clocks.pass_time(8.0)
    taken = [client.taken - start for client, start in zip(clients, before, strict=True)]
    assert sum(taken) <= 8 * 300 + 30
    assert max(taken) <= 1.5 * min(taken)


async def test_who_comes_rarely_is_served_beside_those_who_come_always() -> None:
    clocks = FakeClocks()
    rate = FairRate(clocks, RATES)
    for number in range(12):
        Client(rate.of(f"busy-{number}"))
    await clocks.pass_time(1.0)
    quiet = Client(rate.of("quiet"), most=1)
    # Twelve are before it at most, three of them a turn of 0.02 s.
    await clocks.pass_time(0.2)
    assert quiet.taken == 1


async def test_who_has_gone_is_not_called_and_costs_nothing() -> None:
    clocks = FakeClocks()
    rate = FairRate(clocks, RATES)
    share, called = rate.of("a"), []
    cancel = share.wait(lambda: called.append(1))
    cancel()
    cancel()
    await clocks.pass_time(1.0)
    assert called == []
    assert not clocks.timers
    del share, cancel
    gc.collect()
    fresh = rate.of("a")
    fresh.charge(5)
    assert fresh.allows()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 20)), max_size=60))
def test_nobody_has_more_than_the_burst_at_once(asked: list[tuple[str, float]]) -> None:
    rate = FairRate(FakeClocks(), RATES)
    shares = {name: rate.of(name) for name in "abc"}
    taken: dict[str, float] = dict.fromkeys("abc", 0.0)
    for name, units in asked:
        if shares[name].allows():
            shares[name].charge(units)
            taken[name] += units
    assert all(each <= RATES.each_burst + 20 for each in taken.values())
    assert sum(taken.values()) <= RATES.all_burst + 20


class Counted(FairRate):
    asked = 0

    def allows(self, bucket: Any) -> bool:
        self.asked += 1
        return super().allows(bucket)


class Tasks:
    """Each does one thing when it is its turn."""

    def __init__(self, share: Share, number: int) -> None:
        self._share = share
        self.done: list[int] = []
        self.all = [asyncio.create_task(self._run(each)) for each in range(number)]

    async def _run(self, number: int) -> None:
        await self._share.turn()
        self._share.charge()
        self.done.append(number)

    async def end(self) -> None:
        for task in self.all:
            task.cancel()
        await asyncio.gather(*self.all, return_exceptions=True)


async def test_of_tasks_that_wait_those_are_woken_that_may_go_on() -> None:
    clocks = FakeClocks()
    rate = Counted(clocks, RATES)
    tasks = Tasks(rate.of("a"), 400)
    await clocks.pass_time(2.0)
    assert 10 + 190 <= len(tasks.done) <= 10 + 210
    assert tasks.done == sorted(tasks.done)
    assert rate.asked <= 400 + 4 * len(tasks.done)
    await tasks.end()


async def test_tasks_that_wait_no_longer_leave_their_turn_to_the_next() -> None:
    clocks = FakeClocks()
    share = FairRate(clocks, RATES).of("a")
    tasks = Tasks(share, 60)
    await clocks.pass_time(0.0)
    before = len(tasks.done)
    for task in tasks.all[before : before + 20]:
        task.cancel()
    clocks.advance(0.02)
    # One has been woken, and has not run on yet.
    tasks.all[before + 20].cancel()
    await clocks.pass_time(1.0)
    assert tasks.done == [*range(before), *range(before + 21, 60)]
    await tasks.end()
    await clocks.pass_time(0.1)
    assert not clocks.timers
    await asyncio.wait_for(share.turn(), 60)


class Callbacks:
    """Each takes what there is, or waits for its turn once more."""

    def __init__(self, share: Share, number: int, each: int) -> None:
        self._share = share
        self.left = [each] * number
        self.called = 0
        self.cancels = [share.in_turn(partial(self._go_on, each_of)) for each_of in range(number)]

    def _go_on(self, number: int) -> None:
        self.called += 1
        while self.left[number]:
            if not self._share.allows():
                self.cancels[number] = self._share.in_turn(partial(self._go_on, number))
                return
            self.left[number] -= 1
            self._share.charge()


async def test_of_callbacks_that_wait_those_are_called_that_may_go_on() -> None:
    clocks = FakeClocks()
    callbacks = Callbacks(FairRate(clocks, RATES).of("a"), number=100, each=3)
    await clocks.pass_time(1.0)
    taken = 300 - sum(callbacks.left)
    assert 10 + 90 <= taken <= 10 + 110
    assert callbacks.called <= taken + 50
    # Those that wait no longer leave their turn to the next.
    for cancel in callbacks.cancels[50:]:
        cancel()
    await clocks.pass_time(5.0)
    assert callbacks.left[:50] == [0] * 50
    await clocks.pass_time(0.1)
    assert not clocks.timers
