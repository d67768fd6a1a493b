"""Writes that wait for each other: how long, in which order, and what becomes of them when somebody goes."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from sesame.write_batching import WriteBatch, shared


class Wire:
    """A transport that remembers; `log` is shared, so that it shows the order over several."""

    def __init__(self, name: str, log: list[tuple[str, bytes]]) -> None:
        self._name = name
        self._log = log
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self._log.append((self._name, data))

    def is_closing(self) -> bool:
        return self.closed


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_alone_it_leaves_at_once() -> None:
    log: list[tuple[str, bytes]] = []
    WriteBatch(asyncio.get_running_loop(), 8).write(Wire("a", log), b"1", others=0)
    assert log == [("a", b"1")]


async def test_it_waits_a_turn_for_each_other_and_not_longer_than_it_may() -> None:
    for others, waits in ((1, 1), (3, 3), (100, 4)):
        log: list[tuple[str, bytes]] = []
        WriteBatch(asyncio.get_running_loop(), 4).write(Wire("a", log), b"1", others=others)
        await turns(waits - 1)
        assert log == []
        await turns(2)
        assert log == [("a", b"1")]


async def test_what_comes_meanwhile_leaves_with_it_even_when_it_comes_alone() -> None:
    log: list[tuple[str, bytes]] = []
    batch = WriteBatch(asyncio.get_running_loop(), 8)
    batch.write(Wire("a", log), b"1", others=2)
    batch.write(Wire("b", log), b"2", others=0)
    assert log == []
    batch.flush()
    assert log == [("a", b"1"), ("b", b"2")]
    await turns(4)
    assert len(log) == 2


async def test_for_who_has_gone_nothing_is_written() -> None:
    log: list[tuple[str, bytes]] = []
    batch, gone, there = WriteBatch(asyncio.get_running_loop(), 8), Wire("gone", log), Wire("there", log)
    batch.write(gone, b"1", others=1)
    batch.write(there, b"2", others=1)
    gone.closed = True
    await turns(3)
    assert log == [("there", b"2")]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 3)), max_size=30))
def test_each_transport_gets_all_of_its_own_in_order(steps: list[tuple[str, int, int]]) -> None:
    log: list[tuple[str, bytes]] = []

    async def play() -> None:
        batch = WriteBatch(asyncio.get_running_loop(), 4)
        wires = {name: Wire(name, log) for name in "abc"}
        for number, (name, others, pause) in enumerate(steps):
            batch.write(wires[name], b"%d" % number, others=others)
            await turns(pause)
        await turns(6)

    asyncio.run(play())
    for name in "abc":
        assert [data for whom, data in log if whom == name] == [
            b"%d" % number for number, step in enumerate(steps) if step[0] == name
        ]


def test_a_loop_has_one_of_its_own() -> None:
    mine = shared(turns_max=2)

    async def twice() -> tuple[WriteBatch, WriteBatch]:
        return mine(), mine()

    first, again = asyncio.run(twice())
    other, _ = asyncio.run(twice())
    assert first is again
    assert other is not first
