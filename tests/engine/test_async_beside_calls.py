"""What synchronous calls keep of their throughput beside a full queue: `async_pace` on a simulated machine.

Run by pytest, on a clock that the simulation moves. The machine does one second of work a second, parted evenly among
the calls that run. Synchronous callers call, think and call again; the queue never empties.
"""

import random

import pytest
from tests.support.fakes import FakeClocks

from sesame.engine.async_pace import Pace

STEP_S = 0.00025
SECONDS = 1.5
# Work of one call; an asynchronous one is accepted, claimed and recorded beside.
CALL_S, ASYNC_CALL_S = 0.001, 0.002
KEPT = 0.8


class Job:
    def __init__(self, starts_at: float, work_s: float) -> None:
        self.starts_at = starts_at
        self.left_s = work_s


class SimulatedMachine:
    def __init__(self, callers: int, think_s: float, *, queue: bool) -> None:
        self._clocks = FakeClocks()
        self._think_s = think_s
        self._queue = queue
        self._synchronous = [Job(0.0, CALL_S) for _ in range(callers)]
        self._asynchronous: list[Job] = []
        self._busy = self._steps = 0
        self._chance = random.Random(1)
        self.calls_ended = self.asynchronous_ended = 0
        self._pace = Pace(self, self, self._clocks, cores=2)

    @property
    def calls_in_flight(self) -> int:
        return len(self._runs(self._synchronous)) + len(self._asynchronous)

    def sample(self) -> float:
        """The kernel counts in steps, so that a sample errs."""
        load = self._busy / max(self._steps, 1) + self._chance.uniform(-0.1, 0.1)
        self._busy = self._steps = 0
        return min(max(load, 0.0), 1.0)

    def run(self) -> "SimulatedMachine":
        for _ in range(round(SECONDS / STEP_S)):
            if self._queue:
                self._start_asynchronous()
            running = self._runs(self._synchronous) + self._asynchronous
            self._steps += 1
            self._busy += bool(running)
            for job in running:
                job.left_s -= STEP_S / len(running)
            self._clocks.advance(STEP_S)
            self._end()
        return self

    @property
    def synchronous_ended(self) -> int:
        return self.calls_ended - self.asynchronous_ended

    def _runs(self, jobs: list[Job]) -> list[Job]:
        now = self._clocks.monotonic()
        return [job for job in jobs if job.starts_at <= now]

    def _start_asynchronous(self) -> None:
        pace, now = self._pace, self._clocks.monotonic()
        pace.adjust()
        while len(self._asynchronous) < pace.limit and now >= pace.rests_until:
            pace.begun()
            self._asynchronous.append(Job(now, ASYNC_CALL_S))

    def _end(self) -> None:
        now = self._clocks.monotonic()
        for job in self._synchronous:
            if job.left_s <= 1e-9:
                self.calls_ended += 1
                job.starts_at, job.left_s = now + self._think_s, CALL_S
        ended = [job for job in self._asynchronous if job.left_s <= 1e-9]
        for job in ended:
            self._asynchronous.remove(job)
            self.calls_ended += 1
            self.asynchronous_ended += 1
            self._pace.ended(now - job.starts_at, reached=True)


@pytest.mark.parametrize("think_s", [0.0, 0.001, 0.02])
@pytest.mark.parametrize("callers", [1, 4, 16])
def test_synchronous_calls_keep_their_throughput_and_the_queue_goes_on(callers: int, think_s: float) -> None:
    alone = SimulatedMachine(callers, think_s, queue=False).run()
    beside = SimulatedMachine(callers, think_s, queue=True).run()
    assert beside.synchronous_ended >= KEPT * alone.synchronous_ended
    assert beside.asynchronous_ended > 5 * SECONDS, "the queue never stands still"


def test_the_queue_takes_what_synchronous_calls_leave() -> None:
    idle = SimulatedMachine(1, 0.1, queue=True).run()
    assert idle.asynchronous_ended * ASYNC_CALL_S > 0.4 * SECONDS
    assert SimulatedMachine(0, 0.0, queue=True).run().asynchronous_ended * ASYNC_CALL_S > 0.95 * SECONDS
