"""What the writer does about a follower that is there, and does not take a change of the catalog. Over real sockets."""

import asyncio
from typing import Any, cast

from tests.agents.quiet_catalog import QuietCatalog
from tests.engine.conftest import build
from tests.support.fakes import FakeClocks

from sesame.agents import messages as m
from sesame.agents.followed import WriterNeeds
from sesame.agents.link import Link, pair
from sesame.agents.served import Served
from sesame.agents.writer import LOOKS_EVERY_S, Writer
from sesame.engine.interface import Observer
from sesame.engine.policies import Caps
from sesame.sandbox.network import HostAnswers
from sesame.store.catalog import Change

CAPS = Caps(instances_per_function=1, memory_mb=768, starts_at_once=2, keep_alive_s=300)


class Agent:
    """A follower that says hello and answers questions; it takes changes up to this one."""

    def __init__(self, writer: Writer) -> None:
        ours, theirs = pair()
        self.takes_up_to = 1
        self.link = Link(ours, self._take, lambda: None)
        self.link.send(m.Hello(2, ()))
        writer.meet(2, theirs, held=False)

    def _take(self, message: m.Message, _fds: list[int]) -> None:
        match message:
            case m.AreYouThere():
                self.link.send(m.Here())
            case m.Records() if message.revision <= self.takes_up_to:
                self.link.send(m.Seen(message.revision))


async def test_a_follower_that_answers_and_does_not_take_a_change_is_killed_and_the_change_answered() -> None:
    engine, catalog, clocks, killed = build(CAPS), QuietCatalog(), FakeClocks(), list[int]()
    needs = WriterNeeds(
        catalog=cast(Any, catalog),
        resolver=engine.resolver,
        served=Served(engine.resolver, cast(Any, engine.catalog)),
        pool=engine.pool,
        sink=lambda _source, _request_id, _data, _more: None,
        observer=Observer(),
        packages=cast(Any, None),
        answers=HostAnswers.none(),
        clocks=clocks,
        trusted="",
    )
    writer = Writer(needs, killed.append)
    writer.watch()
    agent = Agent(writer)

    def edit(revision: int) -> "asyncio.Task[None]":
        catalog.revision = revision
        catalog.tells(Change("thing", "", "a", None, revision))
        return asyncio.ensure_future(catalog.confirm(revision))

    async def passes(seconds: int) -> None:
        for _ in range(seconds):
            clocks.advance(LOOKS_EVERY_S)
            for _ in range(4):
                await asyncio.sleep(0.001)

    try:
        await passes(2)
        await asyncio.wait_for(edit(1), 60.0)
        await passes(3)
        assert killed == []
        waiting = edit(2)
        async with asyncio.timeout(60.0):
            while not killed:
                await passes(1)
        assert (killed[0], waiting.done()) == (2, False)
        agent.link.close()
        await asyncio.wait_for(waiting, 60.0)
    finally:
        agent.link.close()
        await writer.close()
