"""The state of a test's Sesame: waits until it is quiet, and resets it.

Used by `testing.server`. A reset restores the state right after the start.
"""

import asyncio
import time

import sqlalchemy as sa

from sesame.app import Parts
from sesame.engine.instance import State as InstanceState
from sesame.model.invocation import Target
from sesame.model.kinds import KINDS
from sesame.model.records import Record
from sesame.sandbox.interface import KillReason
from sesame.store import outbox
from sesame.store.catalog import Transaction
from sesame.store.sql import object_schema, queue_schema, timer_schema
from sesame.store.sql.schema import counters, metadata, records, tombstones
from sesame.store.sql.schema import outbox as outbox_table
from sesame.testing.virtual_clocks import VirtualClocks

# Real seconds until a test's Sesame must be quiet; longer than the default timeout of functions.
PATIENCE_S = 70.0
# Real seconds that periodic work, such as a bucket's lifecycle rules, may take once it is due.
BACKGROUND_S = 5.0
# POLICY: attempts to wait for a function that was never called because no instance was available or started: up to
# 7.5 s in all (`engine.async_policies.throttle_retry_s`).
THROTTLES_WAITED = 4
_LOOK_EVERY_S = 0.002
_TURNS = 10
# Their rows belong to the catalog, or are removed by the consumer of their topic.
_KEPT = (records, tombstones, counters, outbox_table)

_queue, _deliveries = queue_schema.invocations.c, queue_schema.deliveries.c


class NotQuiet(Exception):
    """Work ran for longer than PATIENCE_S; the message names it."""


class State:
    """The state of one running Sesame. The state at the time of construction is the one that `reset` restores."""

    def __init__(self, parts: Parts, clocks: VirtualClocks) -> None:
        self._parts = parts
        self._clocks = clocks
        self._database = parts.storage.objects.database
        self._first = {_key(record): record for record in self._all()}

    async def settle(self) -> list[str]:
        """Returns when all due work is done: timers, object events, asynchronous invocations.

        An asynchronous invocation is done once its function was called; while no instance is available, it is waited
        for. Those still without an instance after THROTTLES_WAITED attempts are described in the returned list. Retries
        of failed functions are not due, and synchronous calls are not waited for. Raises `NotQuiet` after PATIENCE_S
        real seconds.
        """
        began_at = time.monotonic()
        while True:
            await self._turns()
            # Waits for the writer to finish earlier requests, and lets their callers continue.
            await self._database.write(lambda _connection: None)
            await self._turns()
            busy = await self._database.read(self._busy)
            took_s = time.monotonic() - began_at
            if not busy and (took_s > BACKGROUND_S or not self._clocks.awake()):
                return await self._database.read(self._uncalled)
            if took_s > PATIENCE_S:
                raise NotQuiet(f"still at work after {PATIENCE_S:g} s: {', '.join(busy)}")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def next_at(self) -> float | None:
        """When the next timer trigger, retry or delivery is due by the wall clock; None if there is none."""
        clock = self._parts.storage.queue.clock

        def read(connection: sa.Connection) -> float | None:
            queued = [
                connection.execute(sa.select(sa.func.min(column))).scalar_one()
                for column in (_queue.due_at, _deliveries.due_at)
            ]
            ticks = connection.execute(sa.select(sa.func.min(timer_schema.timers.c.next_at))).scalar_one()
            times = [clock.to_wall(at) for at in queued if at is not None] + ([ticks] if ticks is not None else [])
            return min(times, default=None)

        return await self._database.read(read)

    async def reset(self) -> None:
        """Restores the first state of the catalog, deletes all other data, and ends all instances and calls."""
        queued = await self._restore_catalog()
        queue = self._parts.storage.queue
        # Before their rows are deleted, so that their holders do not run them.
        await asyncio.gather(*(queue.stop(target, invocation_id) for target, invocation_id in queued))
        await self._end_instances()
        await self._empty_tables()

    async def _restore_catalog(self) -> list[tuple[Target, str]]:
        """Done first, so that no trigger fires and calls find no function.

        Returns the unfinished queued invocations.
        """
        now = {_key(record): record for record in self._all()}
        added = [key for key in now if key not in self._first]
        changed = [first for key, first in self._first.items() if key not in now or now[key].etag != first.etag]
        unfinished = sa.or_(_queue.due_at.is_not(None), _queue.holder != "")
        queued = sa.select(_queue.service, _queue.qualifier, _queue.function, _queue.invocation_id).where(unfinished)

        def edit(tx: Transaction) -> list[tuple[Target, str]]:
            for kind, parent, name in added:
                tx.delete(kind, parent, name)
            for first in changed:
                tx.put(first.kind, first.parent, first.name, first.document)
            events = outbox_table.c.topic == outbox.OBJECT_EVENT
            tx.connection.execute(sa.delete(outbox_table).where(events))
            rows = tx.connection.execute(queued).all()
            return [(Target(row.service, row.qualifier, row.function), row.invocation_id) for row in rows]

        found = await self._parts.storage.catalog.edit(edit)
        if changed:
            restored = {_key(record): record for record in self._all()}
            self._first = {key: restored[key] for key in self._first}
        return found

    async def _end_instances(self) -> None:
        pool = self._parts.engine.engine.pool
        gives_up_at = time.monotonic() + PATIENCE_S
        while instances := pool.instances():
            for instance in instances:
                # A starting instance is ended by its call once it has a process, or by a later pass of this loop.
                if instance.state not in (InstanceState.DEAD, InstanceState.STARTING):
                    pool.end(instance, KillReason.STOPPING)
            if time.monotonic() > gives_up_at:
                raise NotQuiet(f"{len(instances)} instances have not ended after {PATIENCE_S:g} s")
            await asyncio.sleep(_LOOK_EVERY_S / 4)

    async def _empty_tables(self) -> None:
        """Called after running work has ended, as it may write until then."""
        await self.settle()
        removals = self._parts.storage.objects.removals

        def empty(connection: sa.Connection) -> list[str]:
            blobs = [
                str(blob)
                for table in (object_schema.objects, object_schema.parts)
                for (blob,) in connection.execute(sa.select(table.c.blob))
            ]
            for table in metadata.sorted_tables:
                if table not in _KEPT:
                    connection.execute(sa.delete(table))
            return removals.note(connection, blobs)

        await removals.act(await self._database.write(empty))
        logstores = self._parts.storage.logstores
        for project in await logstores.projects():
            await logstores.delete_project(project.name)

    def _all(self) -> list[Record]:
        return [record for kind in KINDS for record in self._parts.storage.catalog.of_kind(kind)]

    def _busy(self, connection: sa.Connection) -> list[str]:
        """Descriptions of due work that is not done."""
        now, wall = self._parts.storage.queue.clock.now(), self._clocks.wall()
        timers, topics = timer_schema.timers.c, outbox_table.c
        queries = (
            ("asynchronous invocations", _queue.seq, sa.or_(_queue.due_at <= now, _queue.holder != "")),
            (
                "asynchronous invocations without an instance",
                _queue.seq,
                _throttled(now, sa.and_(_queue.throttles > 0, _queue.throttles < THROTTLES_WAITED)),
            ),
            ("records for destinations", _deliveries.seq, sa.or_(_deliveries.due_at <= now, _deliveries.holder != "")),
            ("timers", timers.name, timers.next_at <= wall),
            ("events of objects", topics.id, topics.topic == outbox.OBJECT_EVENT),
        )
        found = [
            (description, connection.execute(sa.select(sa.func.count(c)).where(condition)).scalar_one())
            for description, c, condition in queries
        ]
        return [f"{count} {description}" for description, count in found if count]

    def _uncalled(self, connection: sa.Connection) -> list[str]:
        """Descriptions of invocations that wait for an instance rather than for their time."""
        now = self._parts.storage.queue.clock.now()
        query = sa.select(_queue.service, _queue.function, _queue.error).where(
            _throttled(now, _queue.throttles >= THROTTLES_WAITED)
        )
        return [
            f"an asynchronous invocation of {'/'.join(filter(None, row[:2]))} still has no instance: {row.error}"
            for row in connection.execute(query.order_by(_queue.seq))
        ]

    async def _turns(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)


def _throttled(now: float, how_often: "sa.ColumnElement[bool]") -> "sa.ColumnElement[bool]":
    """Invocations that wait for another attempt and whose function was never called."""
    return sa.and_(_queue.due_at > now, _queue.attempts == 0, how_often)


def _key(record: Record) -> tuple[str, str, str]:
    return record.kind, record.parent, record.name
