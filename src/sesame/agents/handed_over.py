"""The asynchronous calls that one follower runs for the writer, and what it has told of its load.

Made by `agents.followed`; `agents.async_places` hands calls over. A call of which the follower has not told the end is
in flight until nothing is left of it there: so no invocation runs at two agents at a time.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable

import msgspec

from sesame.agents import messages as m
from sesame.agents.endings import error_of
from sesame.engine.steps import STOPPED
from sesame.model.errors import Unavailable
from sesame.model.invocation import Invocation, Outcome, Target, of_version

# POLICY: what could not be run by an agent is tried elsewhere for so long. One that runs nothing has the most room, and
# would be given every call again.
AVOIDED_S = 60.0


class NotHere(Exception):
    """The follower does not run this function, or ends."""


class CutOff(Unavailable):
    """The follower has ended, or its link, or it has cut the call off as it ends."""


class _Run(msgspec.Struct, eq=False):
    key: str
    began: Callable[[str], None]
    answer: "asyncio.Future[m.Ran | None]"
    promised: str


class HandedOver:
    def __init__(self, send: Callable[[m.Message], None], rests: Callable[[m.Rests], None]) -> None:
        """`rests` is told which instances are idle, and which are not, because of these calls."""
        self._send = send
        self._rests = rests
        self._numbers = itertools.count(1)
        self._runs: dict[int, _Run] = {}
        # Calls that an idle instance is expected to take, by snapshot.
        self.promised: Counter[str] = Counter()
        # In flight, by snapshot.
        self.running: Counter[str] = Counter()
        # Since the link began, how many have ended.
        self.ended = 0
        # What it told last, over the link that there is; None before.
        self.loaded: m.Loaded | None = None
        self.loaded_at = 0.0
        # What it has refused since the catalog changed.
        self.declined: set[Target] = set()
        # What could not be run there, and until when it is tried elsewhere.
        self.avoided: dict[Target, float] = {}

    @property
    def calls(self) -> int:
        return len(self._runs)

    async def run(self, invocation: Invocation, key: str, instance_id: str, began: Callable[[str], None]) -> Outcome:
        """`instance_id` is a credit for the call; "" where it finds an idle instance.

        Raises `NotHere` where the follower does not run it, else as `engine.async_work.Place.invoke`.
        """
        n = next(self._numbers)
        run = _Run(key, began, asyncio.get_running_loop().create_future(), "" if instance_id else key)
        if run.promised:
            self.promised[key] += 1
        self._runs[n] = run
        self.running[key] += 1
        try:
            self._send(m.Run(n, key, instance_id, invocation))
            await asyncio.wait({run.answer})
        except asyncio.CancelledError as cancelled:
            # On return its instance has ended, as that of a call in this process has: the follower says so, or it is
            # killed as one that hangs, and `lost` says it.
            self._send(m.EndRun(n, stopped=cancelled.args == (STOPPED,)))
            await asyncio.wait({run.answer})
            raise
        finally:
            del self._runs[n]
            _one_less(self.running, key)
            self._keeps_promise(run)
        answer = run.answer.result()
        if answer is None:
            raise CutOff("the agent that ran it has ended")
        if answer.outcome is not None:
            self.ended += 1
            return answer.outcome
        if answer.kind == m.NOT_HERE:
            self.declined.add(of_version(invocation.target, invocation.version))
            raise NotHere
        error = error_of(answer.kind, answer.text)
        raise CutOff(answer.text) if isinstance(error, asyncio.CancelledError) else error

    def took(self, message: m.Began | m.Ran) -> None:
        """What the follower says of a call."""
        run = self._runs.get(message.n)
        if isinstance(message, m.Began):
            self._rests(m.Rests((), (message.instance_id,)))
            if run is not None:
                self._keeps_promise(run)
                run.began(message.instance_id)
            return
        if message.idle and message.outcome is not None:
            self._rests(m.Rests((message.outcome.instance_id,), ()))
        if run is not None and not run.answer.done():
            run.answer.set_result(message)

    def avoid(self, target: Target, now: float) -> None:
        """It cannot run it, as a call has shown."""
        self.avoided[target] = now + AVOIDED_S

    def unlinked(self) -> None:
        """What runs there is in flight still: the follower ends it."""
        self.loaded = None

    def has_loaded(self, message: m.Loaded, now: float) -> None:
        """The first over a link says that nothing is left of what came over the one before."""
        if self.loaded is None:
            self.lost()
        self.loaded, self.loaded_at = message, now

    def lost(self) -> None:
        """Nothing is left of what was handed over."""
        for run in self._runs.values():
            if not run.answer.done():
                run.answer.set_result(None)

    def _keeps_promise(self, run: _Run) -> None:
        if run.promised:
            _one_less(self.promised, run.promised)
            run.promised = ""


def _one_less(counts: "Counter[str]", key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
