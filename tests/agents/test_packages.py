"""Code packages that a follower leases from the writer, also when another writer takes its place. Over real links."""

import asyncio
from typing import cast

from tests.agents.quiet_catalog import CopyOfNothing
from tests.support.fakes import FakeClocks

from sesame.agents import messages as m
from sesame.agents.catalog_copy import CatalogCopy
from sesame.agents.follower import Follower
from sesame.agents.link import Link, pair

# Turns in which a message and its answer have come.
TURNS = 60


class PlayedWriter:
    """Leases whatever it is asked for."""

    def __init__(self, follower: Follower) -> None:
        ours, theirs = pair()
        self.heard: list[m.Message] = []
        self.link = Link(ours, self._take, lambda: None)
        follower.meet(theirs)
        self.link.send(m.Records((), 1, first=True, last=True))

    def _take(self, message: m.Message, _fds: list[int]) -> None:
        self.heard.append(message)
        if isinstance(message, m.LeasePackages):
            self.link.send(m.Leased(message.n, ("/code",), ()))

    def released(self) -> list[int]:
        return [each.n for each in self.heard if isinstance(each, m.Release)]


async def settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_what_is_in_use_stays_leased_from_the_next_writer_until_it_is_released() -> None:
    follower = Follower(2, cast(CatalogCopy, CopyOfNothing()), FakeClocks())
    first = PlayedWriter(follower)
    used, given_back = await follower.packages.lease(("a",), ""), await follower.packages.lease(("b",), "")
    first.link.close()
    await settle()
    second = PlayedWriter(follower)
    # Before the second writer has answered.
    given_back.release()
    await settle()
    assert sum(isinstance(each, m.LeasePackages) for each in second.heard) == 2
    of_b, *others = second.released()
    assert set(others) <= {of_b}, "what is still in use is released"
    used.release()
    await settle()
    assert second.released()[-1] != of_b
    second.link.close()
    follower.close()
