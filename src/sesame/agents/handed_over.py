"""The asynchronous calls that one follower runs for the writer, and the load that it has reported.

Created by `agents.followed`; `agents.async_places` hands calls over. If the follower does not report the end of a call,
the call counts as in flight until nothing is left of it there, so that no invocation ever runs at two agents at once.
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

# POLICY: a function that an agent failed to run is not handed to that agent for this long. Otherwise the agent, which
# looks free because nothing runs on it, would be given every further call.
AVOIDED_S = 60.0


class NotHere(Exception):
    """The follower declined the call: it does not run this function, or is shutting down."""


class CutOff(Unavailable):
    """The call did not complete because the follower or its link ended, or because it shut down."""


class _Run(msgspec.Struct, eq=False):
    key: str
    began: Callable[[str], None]
    answer: "asyncio.Future[m.Ran | None]"
    promised: str


class HandedOver:
    def __init__(self, send: Callable[[m.Message], None], idle_changes: Callable[[m.IdleChanges], None]) -> None:
        """`idle_changes` is called with instances that become idle or busy because of these calls."""
        self._send = send
        self._idle_changes = idle_changes
        self._numbers = itertools.count(1)
        self._runs: dict[int, _Run] = {}
        # By snapshot key: calls handed over without a credit that have not got their instance yet.
        self.promised: Counter[str] = Counter()
        # By snapshot key: calls in flight.
        self.running: Counter[str] = Counter()
        # How many of these calls have returned an outcome.
        self.ended = 0
        # The last report over the current link; None before the first.
        self.loaded: m.Loaded | None = None
        self.loaded_at = 0.0
        # The functions that the follower has declined since the last change of the catalog.
        self.declined: set[Target] = set()
        # Functions that failed to run there, with the monotonic time until which they are not handed over.
        self.avoided: dict[Target, float] = {}

    @property
    def calls(self) -> int:
        return len(self._runs)

    async def run(self, invocation: Invocation, key: str, instance_id: str, began: Callable[[str], None]) -> Outcome:
        """Has the follower run the call. `instance_id` is a credit for it, "" if an idle instance should be there.

        Raises `NotHere` if the follower declines, `CutOff` if the call was lost, else as
        `engine.async_work.Place.invoke`. If cancelled, returns only after the call's instance has ended.
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
            # As with a call in this process, its instance must have ended before this returns. Either the follower
            # confirms that, or it is killed because it hangs, and `lost` is called.
            self._send(m.EndRun(n, stopped=cancelled.args == (STOPPED,)))
            await asyncio.wait({run.answer})
            raise
        finally:
            del self._runs[n]
            _one_less(self.running, key)
            self._keeps_promise(run)
        answer = run.answer.result()
        if answer is None:
            raise CutOff("the agent that ran the call has ended")
        if answer.outcome is not None:
            self.ended += 1
            return answer.outcome
        if answer.kind == m.NOT_HERE:
            self.declined.add(of_version(invocation.target, invocation.version))
            raise NotHere
        error = error_of(answer.kind, answer.text)
        raise CutOff(answer.text) if isinstance(error, asyncio.CancelledError) else error

    def took(self, message: m.Began | m.Ran) -> None:
        """Handles the follower's message about a call."""
        run = self._runs.get(message.n)
        if isinstance(message, m.Began):
            self._idle_changes(m.IdleChanges((), (message.instance_id,)))
            if run is not None:
                self._keeps_promise(run)
                run.began(message.instance_id)
            return
        if message.idle and message.outcome is not None:
            self._idle_changes(m.IdleChanges((message.outcome.instance_id,), ()))
        if run is not None and not run.answer.done():
            run.answer.set_result(message)

    def avoid(self, target: Target, now: float) -> None:
        """A call has shown that the follower cannot run `target`: hands it over to others for AVOIDED_S."""
        self.avoided[target] = now + AVOIDED_S

    def unlinked(self) -> None:
        """The link has ended. Calls stay in flight until the follower, which ends them, confirms that none is left."""
        self.loaded = None

    def has_loaded(self, message: m.Loaded, now: float) -> None:
        """Takes a report. The first over a new link also confirms that no call of the previous link is left."""
        if self.loaded is None:
            self.lost()
        self.loaded, self.loaded_at = message, now

    def lost(self) -> None:
        """Nothing is left of the calls in flight: they end with `CutOff`."""
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
