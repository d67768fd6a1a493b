"""Which instances are idle at one follower, as far as the writer knows of it, and how it makes sure.

Made by `agents.followed`, whose instances these are. A follower tells by itself of what has changed, a few times a
second.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from sesame.agents import messages as m
from sesame.agents.questions import Questions
from sesame.engine.instance import Instance, State
from sesame.model.clocks import Clocks
from sesame.model.snapshot import Snapshot

# A follower that does not answer a question for so long is passed over.
ANSWERS_WITHIN_S = 2.0

Answer = m.Takes | m.Looked | m.GivenUp


class IdleThere:
    def __init__(
        self, instances: Mapping[str, Instance], send: Callable[[m.Message], None], clocks: Clocks,
        told_free: Callable[[], None],
    ) -> None:  # fmt: skip
        """`instances` are those that the follower has by now, by their ids."""
        self._instances = instances
        self._questions = Questions(send)
        self._clocks = clocks
        self._told_free = told_free

    async def keeps(self, snapshot: Snapshot, *, room: bool) -> bool:
        """Whether it keeps an idle instance for a call; not where it does not say so in time."""
        key, concurrency = snapshot.key, snapshot.limits.concurrency
        said = await self._asked(lambda n: m.CanTake(n, key, concurrency, room))
        if not isinstance(said, m.Takes):
            return False
        if not said.idle:
            # Newer than what it told by itself: these are not to be ended in the place of others now.
            for each in self._instances.values():
                if each.snapshot.key == key and each.state is State.IDLE:
                    each.move(State.BUSY)
        return said.kept

    async def tell(self) -> None:
        """Returns when it has told which instances are idle now, or does not say so in time."""
        await self._asked(m.LookIdle)

    async def give_up(self, instance_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Which of them end, as they are idle; none where it does not say so in time."""
        said = await self._asked(lambda n: m.GiveUp(n, instance_ids))
        return said.instance_ids if isinstance(said, m.GivenUp) else ()

    def rests(self, message: m.Rests) -> None:
        """Those that are idle may be ended for others, as the writer's own."""
        for instance_id in message.idle:
            instance = self._instances.get(instance_id)
            if instance is not None and instance.state is State.BUSY:
                instance.move(State.IDLE)
                instance.idle_since = self._clocks.monotonic()
                self._told_free()
        for instance_id in message.busy:
            instance = self._instances.get(instance_id)
            if instance is not None and instance.state is State.IDLE:
                instance.move(State.BUSY)

    def answered(self, answer: Answer) -> None:
        self._questions.answered(answer.n, answer)

    def lost(self) -> None:
        """The link has ended."""
        self._questions.lost()

    async def _asked(self, question: Callable[[int], m.Message]) -> Answer | None:
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                answer: Answer = await self._questions.ask(question)
                return answer
        except (TimeoutError, ConnectionResetError):
            return None


class Follower(Protocol):
    """The part of `agents.followed.Followed` that is used here."""

    instances: dict[str, Instance]
    idle: IdleThere
    serves: bool

    @property
    def open(self) -> bool: ...


async def hear_idle(followers: Iterable[Follower]) -> None:
    """Returns when each has told which instances are idle now, or does not say so in time."""
    await asyncio.gather(*(each.idle.tell() for each in followers if each.open))


class IdleOfAll:
    """The same of all followers together."""

    def __init__(self, followers: Mapping[int, Follower]) -> None:
        """`followers` are those that there are by now."""
        self._followers = followers
        self._hearing: asyncio.Future[None] | None = None

    async def hear(self) -> None:
        """As `hear_idle`. All who wait for it ask once."""
        if self._hearing is None:
            self._hearing = asyncio.ensure_future(hear_idle(list(self._followers.values())))
            self._hearing.add_done_callback(self._heard)
        await asyncio.shield(self._hearing)

    async def give_up(self, instance_ids: Collection[str]) -> set[str]:
        """As `engine.capacity.Capacity.give_up`. Whoever is cancelled meanwhile: what followers say is heard.

        What a follower had that has ended serves no call any more, and is waited for as what another has given up.
        """
        of_gone, asked = set(instance_ids), []
        for each in list(self._followers.values()):
            if each.open or each.serves:
                those = tuple(instance_id for instance_id in instance_ids if instance_id in each.instances)
                of_gone.difference_update(those)
                asked += [each.idle.give_up(those)] if those else []
        said = await asyncio.shield(asyncio.gather(*asked))
        return of_gone.union(*said)

    def _heard(self, _hearing: "asyncio.Future[None]") -> None:
        self._hearing = None
