"""Recorded calls of a follower are stored by the writer, also by the next one. Over real sockets."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.agents.quiet_catalog import CopyOfNothing, QuietCatalog
from tests.engine.conftest import build
from tests.support.fakes import FakeClocks
from tests.support.recordings import recording

from sesame.agents import recorded
from sesame.agents.followed import WriterNeeds
from sesame.agents.follower import Follower
from sesame.agents.link import pair
from sesame.agents.recorded import SentRecordings
from sesame.agents.served import Served
from sesame.agents.writer import Writer
from sesame.engine.interface import Observer
from sesame.model.errors import Unavailable
from sesame.model.recording import Recording
from sesame.sandbox.network import HostAnswers


class Store:
    def __init__(self) -> None:
        self.taken: list[Recording] = []
        self.may = asyncio.Event()

    async def take(self, taken: Recording) -> None:
        self.taken.append(taken)
        await self.may.wait()


def writer_of(store: Store) -> Writer:
    engine = build()
    needs = WriterNeeds(
        catalog=cast(Any, QuietCatalog()),
        resolver=engine.resolver,
        served=Served(engine.resolver, cast(Any, engine.catalog)),
        pool=engine.pool,
        sink=lambda _source, _request_id, _data, _more: None,
        observer=Observer(),
        packages=cast(Any, None),
        answers=HostAnswers.none(),
        clocks=FakeClocks(),
        trusted="",
        recorded=store.take,
    )
    return Writer(needs, lambda _agent: None)


async def test_a_call_is_recorded_once_the_writer_has_stored_it_and_by_the_next_writer_if_that_ends_first() -> None:
    store, other = Store(), Store()
    follower = Follower(2, cast(Any, CopyOfNothing()), FakeClocks())

    def meet(writer: Writer) -> Callable[[], None]:
        ours, theirs = pair()
        writer.meet(2, theirs, held=False)
        follower.meet(ours)
        return writer.followers[2].link.close

    async with asyncio.timeout(30):
        ends = meet(writer_of(store))
        done = follower.recorded.take(recording("r-1"))
        while not store.taken:  # noqa: ASYNC110 - a store of the test's own
            await asyncio.sleep(0.001)
        assert not done.done()
        store.may.set()
        await done
        store.may.clear()
        lost = follower.recorded.take(recording("r-2"))
        while len(store.taken) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        ends()
        other.may.set()
        meet(writer_of(other))
        await lost
        await follower.recorded.close()
    assert store.taken == [recording("r-1"), recording("r-2")]
    assert other.taken == [recording("r-2")]
    follower.close()


async def test_what_waits_for_a_writer_is_bounded_and_given_up_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "CLOSES_WITHIN_S", 0.01)
    monkeypatch.setattr(recorded, "WAITING_BYTES_MAX", 3 * recorded.RECORDING_BYTES)
    asked = asyncio.Event()

    async def ask(_question: Any) -> Any:
        await asked.wait()
        raise Unavailable("no writer")

    sends = SentRecordings(ask)
    given = [sends.take(recording(f"r-{number}")) for number in range(4)]
    assert [each.done() for each in given] == [False, False, True, True]
    asked.set()
    await asyncio.wait(given)
    asked.clear()
    late = sends.take(recording("r-5"))
    await sends.close()
    assert late.cancelled()
