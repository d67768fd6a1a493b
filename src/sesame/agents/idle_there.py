"""Tracks which instances of one follower are idle, and asks the follower before the writer relies on it.

Created by `agents.followed`, which has the instances. A follower reports changes by itself a few times a second.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from sesame.agents import messages as m
from sesame.agents.questions import Questions
from sesame.engine.instance import Instance, State
from sesame.model.clocks import Clocks
from sesame.model.snapshot import Snapshot

# A follower that does not answer a question within this time is skipped, and is asked nothing more until it answers.
ANSWERS_WITHIN_S = 2.0

Answer = m.Takes | m.Looked | m.GivenUp


class IdleThere:
    def __init__(
        self, instances: Mapping[str, Instance], of: Callable[[str], Iterable[Instance]],
        send: Callable[[m.Message], None], clocks: Clocks, told_free: Callable[[], None],
    ) -> None:  # fmt: skip
        """`instances` are the follower's current instances by id, `of` returns those of a snapshot key.

        `told_free` is called when one becomes idle.
        """
        self._instances = instances
        self._of = of
        self._questions = Questions(send)
        self._clocks = clocks
        self._told_free = told_free
        # Whether a question has been waiting for longer than `ANSWERS_WITHIN_S`.
        self._hangs = False

    async def keeps(self, snapshot: Snapshot, *, room: bool) -> bool:
        """Whether the follower has reserved a place for a call. False if it does not answer in time."""
        key, concurrency = snapshot.key, snapshot.limits.concurrency
        said = await self._asked(lambda n: m.CanTake(n, key, concurrency, room))
        if not isinstance(said, m.Takes):
            return False
        if not said.idle:
            # The answer is newer than the last report: these instances must not be evicted for others now.
            for each in self._of(key):
                if each.state is State.IDLE:
                    each.move(State.BUSY)
        return said.kept

    async def tell(self) -> None:
        """Returns when the follower has reported which instances are idle now, or has not answered in time."""
        await self._asked(m.LookIdle)

    async def give_up(self, instance_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Has the follower end the idle ones of these instances. Returns their ids; none if it does not answer."""
        said = await self._asked(lambda n: m.GiveUp(n, instance_ids))
        return said.instance_ids if isinstance(said, m.GivenUp) else ()

    def change(self, message: m.IdleChanges) -> None:
        """Applies a report. Idle instances may be evicted for others, like the writer's own."""
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
        self._hangs = False
        self._questions.answered(answer.n, answer)

    def lost(self) -> None:
        """The link has ended: pending questions get no answer."""
        self._hangs = False
        self._questions.lost()

    async def _asked(self, question: Callable[[int], m.Message]) -> Answer | None:
        if self._hangs:
            return None
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                answer: Answer = await self._questions.ask(question)
                return answer
        except TimeoutError:
            # Calls ask one after another: each would wait as long.
            self._hangs = True
            return None
        except ConnectionResetError:
            return None


class Follower(Protocol):
    """The part of `agents.followed.Followed` that is used here."""

    instances: dict[str, Instance]
    idle: IdleThere
    serves: bool

    @property
    def open(self) -> bool: ...


async def hear_idle(followers: Iterable[Follower]) -> None:
    """Returns when each follower has reported which instances are idle now, or has not answered in time."""
    await asyncio.gather(*(each.idle.tell() for each in followers if each.open))


class IdleOfAll:
    """Asks all followers together."""

    def __init__(self, followers: Mapping[int, Follower]) -> None:
        """`followers` is the writer's current mapping, which it keeps up to date."""
        self._followers = followers
        self._hearing: asyncio.Future[None] | None = None

    async def hear(self) -> None:
        """Runs `hear_idle` for all followers; concurrent callers share one round of questions."""
        if self._hearing is None:
            self._hearing = asyncio.ensure_future(hear_idle(list(self._followers.values())))
            self._hearing.add_done_callback(self._heard)
        await asyncio.shield(self._hearing)

    async def give_up(self, instance_ids: Collection[str]) -> set[str]:
        """See `engine.capacity.Capacity.give_up`. Also returns the instances of followers that have ended.

        Those serve no calls any more, and their end is awaited like that of instances that were given up. If the
        caller is cancelled, the answers of the followers are still received.
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
