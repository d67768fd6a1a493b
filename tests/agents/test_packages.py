"""Code packages that a follower leases from the writer, also when another writer takes its place. Over real links."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.agents.quiet_catalog import CopyOfNothing
from tests.support.fakes import FakeClocks

from sesame.agents import messages as m
from sesame.agents.catalog_copy import CatalogCopy
from sesame.agents.follower import Follower
from sesame.agents.link import Link, pair
from sesame.agents.packages import LeasedImages, LentPackages
from sesame.model.container import ImageConfig, ImageUnavailable

CONFIG = ImageConfig(entrypoint=("/bin/program",))
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
            leased = {"root": "/root", "config": CONFIG} if message.image else {"code_dirs": ("/code",)}
            self.link.send(m.Leased(message.n, **cast(Any, leased)))

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


async def test_an_image_is_leased_like_a_package() -> None:
    follower = Follower(2, cast(CatalogCopy, CopyOfNothing()), FakeClocks())
    first = PlayedWriter(follower)
    used = await LeasedImages(follower.packages).lease("app:1")
    assert (used.root, used.config) == (Path("/root"), CONFIG)
    first.link.close()
    await settle()
    second = PlayedWriter(follower)
    await settle()
    assert [each.image for each in second.heard if isinstance(each, m.LeasePackages)] == ["app:1"]
    assert second.released() == []
    used.release()
    used.release()
    await settle()
    assert len(second.released()) == 1
    second.link.close()
    follower.close()


async def test_the_writer_lends_images_until_they_are_released_and_says_why_it_does_not() -> None:
    ended: list[str] = []
    link: Any = SimpleNamespace(open=True, sent=[])
    link.send = link.sent.append

    class Images:
        async def lease(self, reference: str) -> Any:
            if reference == "nothing":
                raise ImageUnavailable("there is no such image")
            return SimpleNamespace(root=Path("/root"), config=CONFIG, release=lambda: ended.append(reference))

    lent = LentPackages(cast(Any, None), Images())
    await lent.lend(m.LeasePackages(1, (), "", "app:1"), link)
    await lent.lend(m.LeasePackages(2, (), "", "nothing"), link)
    assert link.sent == [
        m.Leased(1, root="/root", config=CONFIG), m.NotLeased(2, "there is no such image", passing=False)
    ]  # fmt: skip
    lent.release(1)
    assert ended == ["app:1"]

    async def refuse(_question: Any) -> m.Message:
        return m.NotLeased(3, "there is no such image", passing=False)

    with pytest.raises(ImageUnavailable, match="no such image"):
        await LeasedImages(cast(Any, SimpleNamespace(leased=refuse))).lease("nothing")
