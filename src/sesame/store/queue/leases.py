"""Leases on rows: which rows are due, who holds them, and whether an answer comes from the current holder.

Used by both queues, on the writer's thread. A table with leases has the columns `seq`, `due_at`, `epoch` and `holder`.
A row has one holder at a time; each claim increases its epoch, and an op with an older epoch changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa

from sesame.store.queue.clock import QueueClock
from sesame.store.sql.dialect import TEXT
from sesame.store.sql.prepared import Prepared, PreparedList, PreparedRows

# POLICY: how long the rows of a holder that no longer extends its leases remain unavailable to others.
LEASE_S = 60.0

# Leases by row and epoch.
Held = set[tuple[int, int]]


class Lease(Protocol):
    @property
    def seq(self) -> int: ...

    @property
    def epoch(self) -> int: ...


class Claim(msgspec.Struct, frozen=True):
    """Claims up to `limit` due rows, under leases."""

    limit: int


class Extend(msgspec.Struct, frozen=True):
    """Extends these leases to `LEASE_S` from now; the result says which of them were still held."""

    leases: Sequence[Any]


class Release(msgspec.Struct, frozen=True):
    """Makes these rows claimable at once."""

    leases: Sequence[Any]


class Leases:
    """The statements of one table.

    `held` is a condition by which an index finds leased rows. `back` contains the values set in a row that is given
    back, besides the lease; it may use `:now` and `:wall`.
    """

    def __init__(self, table: sa.Table, held: "sa.ColumnElement[bool]", back: Mapping[str, Any]) -> None:
        self._table = table
        columns = table.c
        self._next_due = Prepared(sa.select(sa.func.min(columns.due_at)).where(columns.due_at.is_not(None)))
        given_back = {"due_at": sa.bindparam("now", type_=sa.Float), "epoch": columns.epoch + 1, "holder": "", **back}
        self._void = sa.update(table).where(held, columns.due_at.is_not(None)).values(**given_back)
        leased = sa.select(columns.seq, columns.epoch, columns.holder).where(columns.due_at.is_not(None))
        self._held = PreparedList(lambda seqs: leased.where(columns.seq.in_(seqs)).with_for_update())
        self._extend = PreparedRows(self.fenced().values(due_at=sa.bindparam("new_due_at", type_=sa.Float)))
        self._release = PreparedRows(self.fenced().values(**given_back))

    def claiming(
        self, values: Mapping[str, Any], returning: Sequence["sa.ColumnElement[Any]"]
    ) -> sa.sql.dml.ReturningUpdate[Any]:
        """Takes up to `:limit` rows due at `:now`, the longest due first; sets `values` besides the epoch."""
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
            columns.seq == sa.bindparam("lease_seq", type_=sa.BigInteger),
            columns.epoch == sa.bindparam("lease_epoch", type_=sa.Integer),
            columns.holder == sa.bindparam("lease_holder", type_=TEXT),
            columns.due_at.is_not(None),
        )

    def next_due(self, connection: sa.Connection) -> float | None:
        ((due_at,),) = self._next_due.rows(connection, {})
        return due_at  # type: ignore[no-any-return]

    def void(self, connection: sa.Connection, clock: QueueClock) -> int:
        """Ends every lease, so that the rows may be claimed at once. Returns their number."""
        return connection.execute(self._void, {"now": clock.now(), "wall": clock.wall()}).rowcount

    def held(self, connection: sa.Connection, leases: Iterable[Lease], holder: str) -> Held:
        """The leases that `holder` still has; their rows are locked until the transaction ends."""
        asked = {key_of(lease) for lease in leases}
        rows = self._held.rows(connection, sorted({seq for seq, _ in asked}))
        return asked.intersection((seq, epoch) for seq, epoch, who in rows if who == holder)

    def extend(self, connection: sa.Connection, leases: Sequence[Lease], holder: str, until: float) -> int:
        """Returns how many were extended: fewer than `leases` if one was lost."""
        rows = [{**fence(lease, holder), "new_due_at": until} for lease in leases]
        return self._extend.run_for_each(connection, rows)

    def release(self, connection: sa.Connection, leases: Sequence[Lease], holder: str, clock: QueueClock) -> None:
        """Gives rows back, to be claimed at once."""
        times = {"now": clock.now(), "wall": clock.wall()}
        self._release.run_for_each(connection, [{**fence(lease, holder), **times} for lease in leases])


def key_of(lease: Lease) -> tuple[int, int]:
    return lease.seq, lease.epoch


def fence(lease: Lease, holder: str) -> dict[str, Any]:
    """The parameters of a `fenced` statement."""
    return {"lease_seq": lease.seq, "lease_epoch": lease.epoch, "lease_holder": holder}
