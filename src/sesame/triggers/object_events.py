"""Turns object events into asynchronous invocations of the functions whose triggers match.

The store writes events to the outbox together with the change that causes them; here, one transaction queues the
invocations and removes the events from the outbox. Events left by a crash are processed at the next start.
"""

import asyncio
from collections import Counter

import msgspec
import sqlalchemy as sa
import structlog

from sesame.identity.invocation_roles import InvocationRoles
from sesame.model import object_event, records
from sesame.model import trigger_configs as configs
from sesame.model.arn import Arns
from sesame.model.async_invocation import InvocationMeta, NewInvocation
from sesame.model.clocks import Clocks
from sesame.model.object_event import ObjectEvent
from sesame.model.object_event_json import event_json
from sesame.model.owner import trigger_label
from sesame.model.records import Record
from sesame.model.trigger import Trigger, bucket_of
from sesame.store import outbox
from sesame.store.catalog import Catalog, Change
from sesame.store.objects.events import ObjectEvents, Watch
from sesame.store.sql.database import Database
from sesame.triggers.invocations import Queue, TriggeredInvocations, target_of

EVENTS_AT_ONCE = 256
# POLICY: how long an event may wait if its notification was lost. Each wake-up reads one index.
LOOK_EVERY_S = 30.0

log = structlog.get_logger(__name__)


class ObjectEventNeeds(msgspec.Struct, frozen=True, kw_only=True):
    catalog: Catalog
    database: Database
    events: ObjectEvents
    queue: Queue
    roles: InvocationRoles
    arns: Arns
    clocks: Clocks


class ObjectEventTriggers:
    """Call `open` before the object store is served; `run` for as long as Sesame runs."""

    def __init__(self, needs: ObjectEventNeeds) -> None:
        self._needs = needs
        self._invocations = TriggeredInvocations(needs.catalog, needs.clocks)
        self._watches: dict[tuple[str, str], tuple[str, Watch]] = {}
        self._wake = asyncio.Event()

    def open(self) -> None:
        """Has the store write events for every enabled trigger from now on.

        A trigger that is created later is covered before its creator gets the reply.
        """
        for record in self._needs.catalog.of_kind(records.TRIGGER):
            self._note(record)
        self._publish()
        self._needs.catalog.on_change(self._changed)
        self._needs.events.on_events(self._wake.set)

    async def run(self) -> None:
        """Never returns. Begins with events left by the last run."""
        clocks = self._needs.clocks
        while True:
            self._wake.clear()
            while await self.pass_on() == EVENTS_AT_ONCE:
                pass
            timer = clocks.call_later(LOOK_EVERY_S, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    async def pass_on(self) -> int:
        """Passes on the oldest events; returns how many were in the outbox, at most EVENTS_AT_ONCE."""
        database, queue = self._needs.database, self._needs.queue
        entries = await database.read(lambda c: outbox.pending(c, outbox.OBJECT_EVENT, EVENTS_AT_ONCE))
        if not entries:
            return 0
        dropped: Counter[tuple[str, str]] = Counter()
        news: list[NewInvocation] = []
        for entry in entries:
            result = self._invocation(entry)
            if isinstance(result, str):
                dropped[entry.subject, result] += 1
            else:
                news.append(result)

        def commit(connection: sa.Connection) -> list[bool]:
            accepted = queue.enqueue_in(connection, news) if news else []
            outbox.remove_each(connection, entries)
            return accepted

        await database.write(commit, on_commit=queue.notify)
        for (subject, reason), count in dropped.items():
            trigger = trigger_label(*subject.rsplit("/", 1))
            log.warning("object events did not call a function", trigger=trigger, events=count, reason=reason)
        return len(entries)

    def _invocation(self, entry: outbox.Entry) -> NewInvocation | str:
        """The call that an event leads to, or why there is none."""
        event = msgspec.json.decode(entry.payload, type=ObjectEvent)
        service, function, name = entry.subject.split("/")
        record = self._needs.catalog.get(records.TRIGGER, f"{service}/{function}", name)
        if record is None or record.document.trigger_id != event.trigger_id:
            return "the trigger was deleted"
        trigger: Trigger = record.document
        if reason := self._needs.roles.objection(service, function, trigger):
            return reason
        target = target_of(service, function, trigger)
        meta = InvocationMeta(chain=event.cause.chain)
        return self._invocations.make(target, event_json(event, self._needs.arns.region), f"oss:{name}", meta)

    def _changed(self, change: Change) -> None:
        if change.kind == records.TRIGGER:
            if change.record is None:
                self._watches.pop((change.parent, change.name), None)
            else:
                self._note(change.record)
            self._publish()

    def _note(self, record: Record) -> None:
        trigger: Trigger = record.document
        self._watches.pop((record.parent, record.name), None)
        bucket = bucket_of(trigger)
        if trigger.trigger_type != configs.OSS or not bucket:
            return
        config = configs.read_oss(trigger.trigger_config)
        if config.enable:
            watch = Watch(
                trigger=f"{record.parent}/{record.name}",
                trigger_id=trigger.trigger_id,
                account_id=self._needs.arns.account_id,
                events=object_event.named_by_any(config.events),
                prefix=config.filter.key.prefix,
                suffix=config.filter.key.suffix,
            )
            self._watches[record.parent, record.name] = bucket, watch

    def _publish(self) -> None:
        by_bucket: dict[str, list[Watch]] = {}
        for bucket, watch in self._watches.values():
            by_bucket.setdefault(bucket, []).append(watch)
        self._needs.events.watch(by_bucket)
