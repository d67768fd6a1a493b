"""Leases on rows: which rows are due, who holds them, and whether an answer comes from the one who does.

Used by both queues, on the writer's thread. A table with leases has the columns `seq`, `due_at`, `epoch` and `holder`.
A row is held by one holder at a time; each claim raises its epoch, and what names an older epoch changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from sesame.store.queue.clock import QueueClock
from sesame.store.sql.prepared import Prepared

# POLICY: how long a holder that stops extending its leases keeps others from the rows.
LEASE_S = 60.0
# A statement names at most this many rows; the databases bound the parameters of one. A power of two.
ROWS_AT_ONCE = 1024


# Leases by row and epoch.
Held = set[tuple[int, int]]


class Lease(Protocol):
    @property
    def seq(self) -> int: ...

    @property
    def epoch(self) -> int: ...


class Leases:
    """The statements of one table.

    `held` is a condition by which an index finds the rows under a lease; `back` is what is set, beside the lease, in a
    row that is given back; it may use `:now` and `:wall`.
    """

    def __init__(self, table: sa.Table, held: "sa.ColumnElement[bool]", back: Mapping[str, Any]) -> None:
        self._table = table
        columns = table.c
        self._next_due = Prepared(sa.select(sa.func.min(columns.due_at)).where(columns.due_at.is_not(None)))
        given_back = {"due_at": sa.bindparam("now", type_=sa.Float), "epoch": columns.epoch + 1, "holder": "", **back}
        self._void = sa.update(table).where(held, columns.due_at.is_not(None)).values(**given_back)
        # By how many rows they name.
        self._held: dict[int, Prepared] = {}
        self._extend = self.fenced().values(due_at=sa.bindparam("new_due_at"))
        self._release = self.fenced().values(**given_back)

    def claiming(
        self, values: Mapping[str, Any], returning: Sequence["sa.ColumnElement[Any]"]
    ) -> sa.sql.dml.ReturningUpdate[Any]:
        """Takes up to `:limit` rows that are due at `:now`, the longest due first; sets `values` beside the epoch."""
        columns = self._table.c
        due = (
            sa.select(columns.seq)
            .where(columns.due_at <= sa.bindparam("now"))
            .order_by(columns.due_at, columns.seq)
            .limit(sa.bindparam("limit"))
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        return (
            sa.update(self._table)
            .where(columns.seq == due.c.seq)
            .values(epoch=columns.epoch + 1, **values)
            .returning(*returning)
        )

    def fenced(self) -> sa.Update:
        """An update of the row `:lease_seq`, if it is still held with `:lease_epoch` by `:lease_holder`."""
        columns = self._table.c
        return sa.update(self._table).where(
            columns.seq == sa.bindparam("lease_seq"),
            columns.epoch == sa.bindparam("lease_epoch"),
            columns.holder == sa.bindparam("lease_holder"),
            columns.due_at.is_not(None),
        )

    def next_due(self, connection: sa.Connection) -> float | None:
        ((due_at,),) = self._next_due.rows(connection, {})
        return due_at  # type: ignore[no-any-return]

    def void(self, connection: sa.Connection, clock: QueueClock) -> int:
        """Ends every lease: the rows may be claimed at once. Returns how many there were."""
        return connection.execute(self._void, {"now": clock.now(), "wall": clock.wall()}).rowcount

    def held(self, connection: sa.Connection, leases: Iterable[Lease], holder: str) -> Held:
        """Those of these leases that their holder still has; their rows are locked until the transaction ends."""
        asked = {key_of(lease) for lease in leases}
        seqs = sorted({seq for seq, _ in asked})
        found: Held = set()
        for start in range(0, len(seqs), ROWS_AT_ONCE):
            for seq, epoch, who in self._read_held(connection, seqs[start : start + ROWS_AT_ONCE]):
                if who == holder:
                    found.add((seq, epoch))
        return found & asked

    def _read_held(self, connection: sa.Connection, seqs: list[int]) -> Sequence[Any]:
        """Statements are kept for powers of two; the last row is named again where there are fewer."""
        size = 1 << (len(seqs) - 1).bit_length()
        names = [f"seq_{number}" for number in range(size)]
        statement = self._held.get(size)
        if statement is None:
            columns = self._table.c
            chosen = columns.seq.in_([sa.bindparam(name, type_=sa.BigInteger) for name in names])
            held = sa.select(columns.seq, columns.epoch, columns.holder).where(chosen, columns.due_at.is_not(None))
            statement = self._held[size] = Prepared(held.with_for_update())
        return statement.rows(connection, dict(zip(names, seqs + seqs[-1:] * (size - len(seqs)), strict=True)))

    def extend(self, connection: sa.Connection, leases: Sequence[Lease], holder: str, until: float) -> None:
        connection.execute(self._extend, [{**fence(lease, holder), "new_due_at": until} for lease in leases])

    def release(self, connection: sa.Connection, leases: Sequence[Lease], holder: str, clock: QueueClock) -> None:
        """Gives rows back, to be claimed at once."""
        times = {"now": clock.now(), "wall": clock.wall()}
        connection.execute(self._release, [{**fence(lease, holder), **times} for lease in leases])


def key_of(lease: Lease) -> tuple[int, int]:
    return lease.seq, lease.epoch


def fence(lease: Lease, holder: str) -> dict[str, Any]:
    """The parameters of a `fenced` statement."""
    return {"lease_seq": lease.seq, "lease_epoch": lease.epoch, "lease_holder": holder}
