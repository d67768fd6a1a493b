"""Nonces that several agents see: each is good for one request, whichever agents it comes to."""

import asyncio
from collections.abc import Callable

import pytest

from sesame.agents import messages as m
from sesame.agents.nonces import NoncesOfAll, NoncesOfOne
from sesame.identity.nonces import UsedNonces, digest_of
from sesame.model.errors import PlatformError

ONE, TWO, THREE = (digest_of("key", name) for name in (b"1", b"2", b"3"))


class Writer:
    """Answers when it is let; a link that is `cut` loses the answer, and the same is asked again."""

    def __init__(self) -> None:
        self.of_all = UsedNonces(lambda: 0.0)
        self.side = NoncesOfOne(self.of_all)
        self.may_answer = asyncio.Event()
        self.asked: list[m.UseNonces] = []
        self.cut = self.gone = False

    async def ask(self, question: Callable[[int], m.Message]) -> m.Message:
        asked = question(len(self.asked))
        assert isinstance(asked, m.UseNonces)
        self.asked.append(asked)
        await self.may_answer.wait()
        if self.gone:
            raise PlatformError("no writer")
        answer = self.side.use(asked)
        if self.cut:
            self.cut = False
            return await self.ask(question)
        return answer


async def test_nonces_that_come_while_one_is_asked_for_go_together() -> None:
    writer = Writer()
    follower = NoncesOfAll(writer.ask)
    uses = [follower.first_use(ONE)]
    await asyncio.sleep(0)
    uses += [follower.first_use(each) for each in (TWO, ONE, THREE)]
    writer.may_answer.set()
    assert await asyncio.gather(*uses) == [True, True, False, True]
    assert [each.nonces for each in writer.asked] == [ONE, TWO + ONE + THREE]
    assert not await follower.first_use(TWO)


async def test_a_nonce_of_one_follower_is_used_for_every_other_agent() -> None:
    writer = Writer()
    writer.may_answer.set()
    assert await NoncesOfAll(writer.ask).first_use(ONE)
    assert NoncesOfOne(writer.of_all).use(m.UseNonces(1, ONE + TWO, again=False)).used == (0,)
    assert not writer.of_all.use("key", b"2")
    assert not await NoncesOfAll(writer.ask).first_use(TWO)


async def test_what_is_asked_again_over_another_link_is_answered_as_before() -> None:
    writer = Writer()
    writer.may_answer.set()
    writer.cut = True
    follower = NoncesOfAll(writer.ask)
    assert await follower.first_use(ONE)
    assert [each.again for each in writer.asked] == [False, True]
    # Another process in the follower's place, to which the same request is sent.
    assert not await NoncesOfAll(writer.ask).first_use(ONE)
    # A question that is new to the writer, as it was never taken.
    assert writer.side.use(m.UseNonces(9, ONE + THREE, again=True)).used == (0,)


async def test_without_a_writer_nothing_is_served_and_what_comes_then_is_asked_for() -> None:
    writer = Writer()
    writer.may_answer.set()
    writer.gone = True
    follower = NoncesOfAll(writer.ask)
    uses = [follower.first_use(each) for each in (ONE, TWO)]
    for each in uses:
        with pytest.raises(PlatformError):
            await each
    writer.gone = False
    assert await follower.first_use(ONE)


async def test_a_client_that_goes_leaves_the_others_their_answers() -> None:
    writer = Writer()
    follower = NoncesOfAll(writer.ask)
    gone, stays = follower.first_use(ONE), follower.first_use(TWO)
    await asyncio.sleep(0)
    gone.cancel()
    writer.may_answer.set()
    assert await stays
