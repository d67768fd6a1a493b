"""Limits how many asynchronous calls run at a time, so that synchronous calls keep most of their throughput.

`engine.async_places` keeps one `Pace` per machine and asks it before each start. It measures the machine's load and
applies the rules of `engine.async_policies`.
"""

from sesame.engine.async_policies import CALLS_PER_CORE, is_busy, next_limit
from sesame.engine.async_work import CallsOfEngine, Load
from sesame.model.clocks import Clocks

# How often the load is measured while more calls are waiting than may run.
ADJUST_EVERY_S = 0.1
# A load measured over a longer time than this is out of date: the machine is assumed to be busy.
STALE_AFTER_S = 5 * ADJUST_EVERY_S
# POLICY: while synchronous calls need the machine, one asynchronous call runs at a time, for about a quarter of the
# time: after it, none starts for this many times its duration. The rest is capped, so that a long call does not stall
# the queue.
REST_PER_CALL = 3.0
REST_MAX_S = 0.1


class Pace:
    """`limit` is how many calls may run now; none may start before the monotonic time `rests_until`."""

    def __init__(
        self, engine: CallsOfEngine, load: Load, clocks: Clocks, cores: int, looks_every_s: float = ADJUST_EVERY_S
    ) -> None:
        self.limit = cores * CALLS_PER_CORE
        self.rests_until = 0.0
        self._engine = engine
        self._load = load
        self._clocks = clocks
        self._cores = cores
        self._looks_every_s = looks_every_s
        # From the last measurement: the machine's load, and whether synchronous calls were seen then or since.
        self._seen_load = 1.0
        self._synchronous = False
        self._in_flight = 0
        # Ended calls, now and at the last measurement: asynchronous ones, then those of every kind.
        self._ended = 0
        self._ended_before = 0
        self._all_ended_before = engine.calls_ended
        self._adjusted_at = clocks.monotonic()
        load.sample()

    def begun(self) -> None:
        """An asynchronous call has been handed to the engine."""
        self._in_flight += 1

    def ended(self, took_s: float, *, reached: bool) -> None:
        """The engine has returned from a call that took `took_s` seconds; `reached` if its function was called."""
        self._in_flight -= 1
        self._ended += reached
        if self._yields:
            rest_s = min(took_s * REST_PER_CALL, REST_MAX_S)
            self.rests_until = max(self.rests_until, self._clocks.monotonic() + rest_s)

    @property
    def _yields(self) -> bool:
        """Whether synchronous calls need the machine."""
        return self._synchronous and is_busy(self._seen_load, synchronous=True)

    def adjust(self) -> None:
        """Measures the load every `looks_every_s`, and checks each time for synchronous calls.

        Called before each start.
        """
        passed_s = self._clocks.monotonic() - self._adjusted_at
        if passed_s >= self._looks_every_s:
            self._look(passed_s)
        elif not self._synchronous and self._engine.calls_in_flight > self._in_flight:
            # Do not wait for the next measurement: until then a long queue would starve the first synchronous calls.
            self._synchronous = True
            if self._yields:
                self.limit = 1

    def _look(self, passed_s: float) -> None:
        self._adjusted_at += passed_s
        load = self._load.sample()
        self._seen_load = 1.0 if passed_s >= STALE_AFTER_S else load
        all_ended = self._engine.calls_ended
        others = (all_ended - self._all_ended_before) - (self._ended - self._ended_before)
        self._all_ended_before, self._ended_before = all_ended, self._ended
        before = self._synchronous
        self._synchronous = others > 0 or self._engine.calls_in_flight > self._in_flight
        if not self._yields:
            self.rests_until = 0.0
        elif not before:
            self.limit = 1
        self.limit = next_limit(self.limit, self._seen_load, cores=self._cores, synchronous=self._synchronous)
