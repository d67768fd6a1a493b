"""Counts calls by function, kind and outcome, and the durations of cold starts, as an observer of the engine.

Passed to the engine by `_metrics` if metrics are enabled; read by `metrics.families` at each scrape. Runs in every
call, so it only counts plain numbers and leaves the rest to the scrape.
"""

import asyncio
from collections import Counter
from typing import NamedTuple

from sesame.model.durations import Durations
from sesame.model.errors import CallerError, Exhausted, NotFound, NotStarted
from sesame.model.invocation import Invocation, Outcome, Target
from sesame.model.owner import service_of

# POLICY: functions with series of their own; all later ones share one. Bounds the size of a scrape.
FUNCTIONS_MAX = 500
# Not a valid function name.
OTHER = "(other)"

CALL_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
COLD_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

SUCCESS, THROTTLED, NOT_STARTED, REFUSED, CANCELLED, FAILED = (
    "success", "throttled", "not_started", "refused", "cancelled", "failed",
)  # fmt: skip
MIB = 1024 * 1024


class Name(NamedTuple):
    """A function; its versions and aliases are counted together.

    `service` is "" for a function that belongs to none.
    """

    service: str
    function: str


class CallsOfKind:
    """The synchronous or asynchronous calls of a function. `durations` covers calls that reached an instance."""

    __slots__ = ("durations", "outcomes")

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.durations = Durations(CALL_BOUNDS_S)


class FunctionCalls:
    """`memory_peak_bytes` is the most that any instance of the function has used."""

    __slots__ = ("asynchronous", "cold_starts", "memory_peak_bytes", "sync")

    def __init__(self) -> None:
        self.sync = CallsOfKind()
        self.asynchronous = CallsOfKind()
        self.cold_starts = 0
        self.memory_peak_bytes = 0.0


class CallCounts:
    """Not thread-safe: belongs to one event loop. `ended` and `refused` are methods of `engine.interface.Observer`."""

    def __init__(self, functions_max: int = FUNCTIONS_MAX) -> None:
        self._functions_max = functions_max
        self.functions: dict[tuple[str, str], FunctionCalls] = {}
        self.cold_phases = {phase: Durations(COLD_BOUNDS_S) for phase in ("queue", "start", "initialize")}
        # Durations of the steps within a start, by the sandbox driver's names; without bounds.
        self.start_steps: dict[str, Durations] = {}

    def name_of(self, service: str, function: str) -> Name:
        """The name under which an existing function is counted."""
        return Name(*self._admitted((service_of(service), function)))

    def ended(self, invocation: Invocation, outcome: Outcome | BaseException) -> None:
        target = invocation.target
        calls = self.functions.get((service_of(target.service), target.function))
        if calls is None:
            calls = self._calls_of(target, outcome)
        kind = calls.asynchronous if invocation.asynchronous else calls.sync
        if not isinstance(outcome, Outcome):
            kind.outcomes[_reason(outcome)] += 1
            return
        error = outcome.error
        kind.outcomes[SUCCESS if error is None else error.reason] += 1
        kind.durations.add(outcome.phases.total_ms / 1000)
        memory_bytes = outcome.memory_mb * MIB
        if memory_bytes > calls.memory_peak_bytes:
            calls.memory_peak_bytes = memory_bytes
        if outcome.cold:
            calls.cold_starts += 1
            self._count_cold_start(outcome)

    def refused(self, target: Target, error: CallerError) -> None:
        """Counts a synchronous call that was refused before its event was read."""
        self._calls_of(target, error).sync.outcomes[_reason(error)] += 1

    def _calls_of(self, target: Target, outcome: Outcome | BaseException) -> FunctionCalls:
        """A function gets its own series with the first call that finds it, because callers may request any name."""
        key = (service_of(target.service), target.function)
        if isinstance(outcome, NotFound) and key not in self.functions:
            key = (OTHER, OTHER)
        return self.functions[self._admitted(key)]

    def _admitted(self, key: tuple[str, str]) -> tuple[str, str]:
        if key not in self.functions and len(self.functions) >= self._functions_max:
            key = (OTHER, OTHER)
        if key not in self.functions:
            self.functions[key] = FunctionCalls()
        return key

    def _count_cold_start(self, outcome: Outcome) -> None:
        phases = outcome.phases
        self.cold_phases["queue"].add(phases.queue_ms / 1000)
        self.cold_phases["start"].add(phases.start_ms / 1000)
        self.cold_phases["initialize"].add(phases.initialize_ms / 1000)
        for step, spent_ms in phases.steps.items():
            self.start_steps.setdefault(step.removesuffix("_ms"), Durations(())).add(spent_ms / 1000)


def _reason(error: BaseException) -> str:
    match error:
        case Exhausted():
            return THROTTLED
        case NotStarted():
            return NOT_STARTED
        case CallerError():
            return REFUSED
        case asyncio.CancelledError():
            return CANCELLED
        case _:
            return FAILED
