"""What a test's Sesame keeps: knows when it is quiet, and empties it.

Used by `testing.server`. A reset leaves what was there after the start, and nothing of what came later.
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

# Real seconds until a test's Sesame must be quiet; longer than any function may run by default.
PATIENCE_S = 70.0
# What runs now and then, such as the rules of a bucket, may take so long (real seconds) once its time has come.
BACKGROUND_S = 5.0
# POLICY: a function that has not been called once, as no instance was there or none started, is waited for so often: up
# to 7.5 s in all (`engine.async_policies.throttle_retry_s`).
THROTTLES_WAITED = 4
_LOOK_EVERY_S = 0.002
_TURNS = 10
# Their rows are the catalog's own, or are taken by the consumer of their topic.
_KEPT = (records, tombstones, counters, outbox_table)

_queue, _deliveries = queue_schema.invocations.c, queue_schema.deliveries.c


class NotQuiet(Exception):
    """Something ran for longer than PATIENCE_S; the text says what."""


class State:
    """Of one running Sesame, as it is when this is made."""

    def __init__(self, parts: Parts, clocks: VirtualClocks) -> None:
        self._parts = parts
        self._clocks = clocks
        self._database = parts.storage.objects.database
        self._first = {_key(record): record for record in self._all()}

    async def settle(self) -> list[str]:
        """Returns when everything that is due has been done: timers, events of objects, asynchronous invocations.

        An asynchronous invocation has been done when its function was called: one for which there was no instance is
        waited for. What still has none after THROTTLES_WAITED tries is left to its time, and returned in words. Retries
        of functions that failed are not due, nor are synchronous calls waited for. Raises `NotQuiet` after PATIENCE_S
        real seconds.
        """
        began_at = time.monotonic()
        while True:
            await self._turns()
            # The writer does what was asked for before this, and its callers go on.
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
        """When the next timer trigger, retry or delivery is due by the wall clock; None: nothing waits."""
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
        """On return the catalog is as it was at first, nothing else is kept, and no instance and no call is left."""
        queued = await self._restore_catalog()
        queue = self._parts.storage.queue
        # Before their rows go, so that those who hold them do not run them.
        await asyncio.gather(*(queue.stop(target, invocation_id) for target, invocation_id in queued))
        await self._end_instances()
        await self._empty_tables()

    async def _restore_catalog(self) -> list[tuple[Target, str]]:
        """First, so that no trigger fires and no call finds its function any more. Returns what the queue holds."""
        now = {_key(record): record for record in self._all()}
        gone = [key for key in now if key not in self._first]
        changed = [first for key, first in self._first.items() if key not in now or now[key].etag != first.etag]
        unfinished = sa.or_(_queue.due_at.is_not(None), _queue.holder != "")
        queued = sa.select(_queue.service, _queue.qualifier, _queue.function, _queue.invocation_id).where(unfinished)

        def edit(tx: Transaction) -> list[tuple[Target, str]]:
            for kind, parent, name in gone:
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
                # One that starts is ended by its call when it has a process, or here then.
                if instance.state not in (InstanceState.DEAD, InstanceState.STARTING):
                    pool.end(instance, KillReason.STOPPING)
            if time.monotonic() > gives_up_at:
                raise NotQuiet(f"{len(instances)} instances have not ended after {PATIENCE_S:g} s")
            await asyncio.sleep(_LOOK_EVERY_S / 4)

    async def _empty_tables(self) -> None:
        """Once what was running has ended, as it may have written until then."""
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
        """What is due and not done, in words."""
        now, wall = self._parts.storage.queue.clock.now(), self._clocks.wall()
        timers, topics = timer_schema.timers.c, outbox_table.c
        asked = (
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
            (what, connection.execute(sa.select(sa.func.count(c)).where(held)).scalar_one()) for what, c, held in asked
        ]
        return [f"{count} {what}" for what, count in found if count]

    def _uncalled(self, connection: sa.Connection) -> list[str]:
        """What waits for an instance, and not for its turn."""
        now = self._parts.storage.queue.clock.now()
        asked = sa.select(_queue.service, _queue.function, _queue.error).where(
            _throttled(now, _queue.throttles >= THROTTLES_WAITED)
        )
        return [
            f"an asynchronous invocation of {'/'.join(filter(None, row[:2]))} still has no instance: {row.error}"
            for row in connection.execute(asked.order_by(_queue.seq))
        ]

    async def _turns(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)


def _throttled(now: float, how_often: "sa.ColumnElement[bool]") -> "sa.ColumnElement[bool]":
    """Invocations that wait for another try, and whose function has not been called yet."""
    return sa.and_(_queue.due_at > now, _queue.attempts == 0, how_often)


def _key(record: Record) -> tuple[str, str, str]:
    return record.kind, record.parent, record.name
