"""A queue of asynchronous invocations without a database, for tests of what claims from one.

Keeps the promises of `engine.async_work.WorkQueue`: leases with epochs, retries, stops, and what follows an ending.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from sesame.model import limits
from sesame.model.async_invocation import FINAL, Ending, Leased, NewDelivery, NewInvocation, State
from sesame.model.clocks import Clocks
from sesame.model.invocation import Target


@dataclass
class Row:
    lease: Leased
    state: State = State.ENQUEUED
    not_before: float = 0.0
    held: bool = False
    errors: list[str] = field(default_factory=list)
    durations_ms: list[float | None] = field(default_factory=list)
    instance_id: str = ""
    ending: Ending | None = None
    then: tuple[NewInvocation | NewDelivery, ...] = ()


class FakeWorkQueue:
    """`fail` is raised by the next writes and claims while it is set; `claims` counts the claims."""

    def __init__(self, clocks: Clocks) -> None:
        self.rows: dict[int, Row] = {}
        self.clocks = clocks
        self.fail: Exception | None = None
        self.claims = 0
        self.starts: list[int] = []
        self.patient: list[bool] = []
        self.released: list[int] = []
        self.lost: set[int] = set()
        self._on_work: Callable[[], None] = lambda: None
        self._on_stop: Callable[[int], None] = lambda _seq: None

    def add(self, function: str = "f", payload: bytes = b"e", **changes: object) -> Row:
        seq, now = len(self.rows) + 1, self.clocks.wall()
        values: dict[str, object] = {
            "seq": seq, "epoch": 0, "target": Target("s", limits.LATEST, function), "invocation_id": f"i-{seq}",
            "request_id": f"r-{seq}", "payload": payload, "stateful": True, "source": "api", "attempts": 0,
            "throttles": 0, "enqueued_at": now, "expires_at": now + 86400, **changes,
        }  # fmt: skip
        row = self.rows[seq] = Row(Leased(**values))  # type: ignore[arg-type]
        return row

    def notify(self) -> None:
        self._on_work()

    def stop(self, row: Row) -> None:
        """As the store does: what waits has ended, what is claimed is told."""
        if row.held:
            row.state = State.STOPPING
            self._on_stop(row.lease.seq)
        else:
            row.state = State.STOPPED

    def next_due(self) -> float | None:
        return min((r.not_before for r in self.rows.values() if not r.held and r.state not in FINAL), default=None)

    async def claim(self, limit: int) -> list[Leased]:
        self.claims += 1
        self._check()
        due = [
            r for r in self.rows.values() if not r.held and r.state not in FINAL and r.not_before <= self.clocks.wall()
        ][:limit]
        for row in due:
            row.held, row.state = True, State.DEQUEUED
            row.lease = msgspec.structs.replace(row.lease, epoch=row.lease.epoch + 1)
        return [row.lease for row in due]

    def started(self, lease: Leased, instance_id: str) -> None:
        self.starts.append(lease.seq)
        row = self._row(lease)
        row.state, row.instance_id = State.RUNNING, instance_id

    async def extend(self, leases: Sequence[Leased]) -> list[bool]:
        self._check()
        return [lease.seq not in self.lost for lease in leases]

    async def finish(
        self, lease: Leased, ending: Ending, then: Sequence[NewInvocation | NewDelivery], *, patient: bool
    ) -> bool:
        self._check()
        row = self._row(lease)
        if not self._holds(row, lease):
            return False
        assert row.state not in FINAL, "a final state never changes"
        row.state, row.ending, row.then, row.held = ending.state, ending, tuple(then), False
        self.patient.append(patient)
        return True

    async def retry(
        self, lease: Leased, not_before: float, *, counted: bool, error: str, duration_ms: float | None
    ) -> bool:
        self._check()
        row = self._row(lease)
        if not self._holds(row, lease):
            return False
        row.state, row.not_before, row.held = State.RETRYING, not_before, False
        row.errors.append(error)
        row.durations_ms.append(duration_ms)
        counts = {"attempts": lease.attempts + counted, "throttles": lease.throttles + (not counted)}
        row.lease = msgspec.structs.replace(lease, last_error=error, **counts)
        return True

    async def release(self, leases: Sequence[Leased]) -> None:
        self._check()
        for lease in leases:
            row = self._row(lease)
            if self._holds(row, lease):
                row.state, row.held = State.ENQUEUED, False
                self.released.append(lease.seq)

    def on_work(self, callback: Callable[[], None]) -> None:
        self._on_work = callback

    def on_accepted(self, room: Callable[[], int], take: Callable[[Sequence[Leased]], None]) -> None:
        self.room, self._take = room, take

    def hand_over(self, rows: Sequence[Row], room: int | None = None) -> None:
        """As the store does with what it has just accepted, if there is room for it, or was when it asked."""
        assert len(rows) <= (self.room() if room is None else room)
        for row in rows:
            row.held, row.state = True, State.DEQUEUED
            row.lease = msgspec.structs.replace(row.lease, epoch=1)
        self._take([row.lease for row in rows])

    def on_stop(self, callback: Callable[[int], None]) -> None:
        self._on_stop = callback

    def _row(self, lease: Leased) -> Row:
        return self.rows[lease.seq]

    def _holds(self, row: Row, lease: Leased) -> bool:
        return row.held and row.lease.epoch == lease.epoch and lease.seq not in self.lost

    def _check(self) -> None:
        if self.fail is not None:
            raise self.fail
