"""How many asynchronous calls run at a time, so that synchronous calls keep most of their throughput.

Asked by `engine.async_invoker` before each start. Follows the load of the machine; decides by `engine.async_policies`.
"""

from sesame.engine.async_policies import BUSY_LOAD, CALLS_PER_CORE, next_limit
from sesame.engine.async_work import CallEngine, Load
from sesame.model.clocks import Clocks

# How often the load is looked at while there is more to run than may run.
ADJUST_EVERY_S = 0.1
# POLICY: while synchronous calls need the machine, a slot rests after a call for this many times the call's duration.
REST_PER_CALL = 1.5
REST_MAX_S = 0.1


class Pace:
    """`limit` is how many may run now; `rests_until` is the monotonic time before which none may start."""

    def __init__(self, engine: CallEngine, load: Load, clocks: Clocks, cores: int) -> None:
        self.limit = cores * CALLS_PER_CORE
        self.rests_until = 0.0
        self._engine = engine
        self._load = load
        self._clocks = clocks
        self._cores = cores
        self._yielding = False
        self._in_flight = 0
        # Asynchronous calls and calls of every kind that ended, now and when the load was last looked at.
        self._ended = 0
        self._ended_before = 0
        self._all_ended_before = engine.calls_ended
        self._adjusted_at = clocks.monotonic()
        load.sample()

    def begun(self) -> None:
        """An asynchronous call goes to the engine."""
        self._in_flight += 1

    def ended(self, took_s: float, *, reached: bool) -> None:
        """It has come back; `reached` when its function was called."""
        self._in_flight -= 1
        self._ended += reached
        if self._yielding:
            rest_s = min(took_s * REST_PER_CALL, REST_MAX_S)
            self.rests_until = max(self.rests_until, self._clocks.monotonic() + rest_s)

    def adjust(self) -> None:
        """Looks at the load, unless it did so within `ADJUST_EVERY_S`. Called while more is to run than runs."""
        now = self._clocks.monotonic()
        if now - self._adjusted_at < ADJUST_EVERY_S:
            return
        self._adjusted_at = now
        load = self._load.sample()
        all_ended = self._engine.calls_ended
        others = (all_ended - self._all_ended_before) - (self._ended - self._ended_before)
        self._all_ended_before, self._ended_before = all_ended, self._ended
        synchronous = others > 0 or self._engine.calls_in_flight > self._in_flight
        self._yielding = synchronous and load >= BUSY_LOAD
        if not self._yielding:
            self.rests_until = 0.0
        self.limit = next_limit(self.limit, load, cores=self._cores, synchronous=synchronous)
