"""Accepts invocations: numbers and inserts them, and immediately leases those that their runner can start now.

Used by `store.queue` on the writer's thread, for many invocations at a time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from sesame.model.async_invocation import Leased, NewInvocation, State
from sesame.store.queue.clock import QueueClock
from sesame.store.queue.events import step
from sesame.store.queue.leases import LEASE_S
from sesame.store.queue.rows import NEW_COLUMNS, leased_at_once, new_rows
from sesame.store.sql.dialect import Numbers, insert_new
from sesame.store.sql.prepared import PreparedList, PreparedRows
from sesame.store.sql.queue_schema import STATEFUL, invocations

columns = invocations.c
_DEQUEUED = State.DEQUEUED.value
_KEY = (columns.service, columns.function, columns.qualifier, columns.invocation_id)
_ADD = PreparedRows(insert_new(invocations, _KEY, STATEFUL), NEW_COLUMNS)
_PRESENT = PreparedList(lambda seqs: sa.select(columns.seq).where(columns.seq.in_(seqs)))


class Handover:
    """The runner to which invocations are leased when they are accepted, so that no claim has to find them.

    Only due ones are leased, and only while no older one waits: `caught_up`, which only the writer's thread knows.
    """

    def __init__(self) -> None:
        self.caught_up = False
        # Returns how many more the runner takes; called on the writer's thread.
        self.room: Callable[[], int] = _no_room


def _no_room() -> int:
    return 0


class Acceptance(msgspec.Struct, frozen=True):
    """Whether each invocation was accepted; the leased ones; and when the first of the others falls due."""

    accepted: list[bool]
    leased: list[Leased]
    due_at: float | None


class Acceptor:
    """`holder` gets the leases."""

    def __init__(self, holder: str, clock: QueueClock, handover: Handover) -> None:
        self._holder = holder
        self._clock = clock
        self._handover = handover
        self._numbers = Numbers(invocations, columns.seq)

    def accept(self, connection: sa.Connection, news: Sequence[NewInvocation], *, lease: bool = True) -> Acceptance:
        """One statement for all. False for a stateful id that its function has already, or that is repeated here."""
        if not news:
            return Acceptance([], [], None)
        handover, now = self._handover, self._clock.now()
        rows = new_rows(news, self._clock, now)
        room = handover.room() if lease and handover.caught_up else 0
        leased: list[Leased] = []
        due_at: float | None = None
        dequeued = step(State.DEQUEUED, self._clock.wall()) if room > 0 else ""
        for seq, new, row in zip(self._numbers.take(connection, len(rows)), news, rows, strict=True):
            row["seq"] = seq
            if row["due_at"] > now:
                due_at = row["due_at"] if due_at is None else min(due_at, row["due_at"])
            elif len(leased) < room:
                row.update(state=_DEQUEUED, holder=self._holder, epoch=1, due_at=now + LEASE_S, events=dequeued)
                leased.append(leased_at_once(seq, new, row["enqueued_at"]))
            else:
                handover.caught_up = False
                due_at = now
        accepted = self._insert(connection, rows)
        if len(accepted) < len(rows):
            leased = [each for each in leased if each.seq in accepted]
        return Acceptance([row["seq"] in accepted for row in rows], leased, due_at)

    def _insert(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> set[int]:
        """The numbers of the rows that were inserted."""
        seqs = [row["seq"] for row in rows]
        if _ADD.run_for_each(connection, rows) == len(rows):
            return set(seqs)
        return {seq for (seq,) in _PRESENT.rows(connection, seqs)}
