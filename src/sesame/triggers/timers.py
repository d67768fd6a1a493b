"""Timer triggers: queues an invocation whenever one is due, in the transaction that advances the timer's row.

Opened by `app`. All timers share one timer of the event loop. A crash neither loses nor repeats a tick; see ticks.py
for ticks missed while Sesame was down.
"""

import asyncio
from typing import Protocol

import msgspec
import sqlalchemy as sa
import structlog

from sesame.model import records, schedules, utc
from sesame.model import trigger_configs as configs
from sesame.model.alarm import Alarm
from sesame.model.async_invocation import NewInvocation
from sesame.model.clocks import Clocks
from sesame.model.owner import trigger_label
from sesame.model.records import Record
from sesame.model.schedules import Cron, Every
from sesame.model.tick_json import tick_json
from sesame.model.trigger import Trigger
from sesame.store import timers as rows
from sesame.store.catalog import Catalog, Change
from sesame.store.sql.database import Database
from sesame.store.timers import Key, TimerRow
from sesame.triggers import ticks
from sesame.triggers.due_times import DueTimes
from sesame.triggers.invocations import Queue, TriggeredInvocations, target_of

# A thousand timers due at once should neither block the writer for long nor take one commit each.
TICKS_AT_ONCE = 256

log = structlog.get_logger(__name__)


class Roles(Protocol):
    """The part of `identity.invocation_roles.InvocationRoles` that is used here."""

    def objection(self, service: str, function: str, trigger: Trigger) -> str: ...


class TimerNeeds(msgspec.Struct, frozen=True, kw_only=True):
    catalog: Catalog
    database: Database
    queue: Queue
    roles: Roles
    clocks: Clocks


class _Timer(msgspec.Struct, frozen=True):
    row: TimerRow
    schedule: Every | Cron
    record: Record


class TimerTriggers:
    """Call `open` once, then `run` for as long as Sesame runs; `close` cancels the waiting."""

    def __init__(self, needs: TimerNeeds) -> None:
        self._needs = needs
        self._invocations = TriggeredInvocations(needs.catalog, needs.clocks)
        self._timers: dict[Key, _Timer] = {}
        self._due = DueTimes()
        # Triggers changed since their rows were written.
        self._changed: dict[Key, None] = {}
        self._was_set_back = False
        self._wake = asyncio.Event()
        self._alarm = Alarm(needs.clocks, self._wake.set, self._on_set_back)

    async def open(self) -> None:
        """Ensures that every enabled timer has a row, and follows changes of triggers from now on."""
        self._needs.catalog.on_change(self._on_change)
        kept = {row.key: row for row in await self._needs.database.load(rows.load)}
        for record in self._needs.catalog.of_kind(records.TRIGGER):
            self._changed[record.parent, record.name] = None
        self._changed |= dict.fromkeys(kept)
        await self._follow(kept)
        self._was_set_back = True

    def close(self) -> None:
        self._alarm.close()

    async def run(self) -> None:
        """Never returns. May be run again after an error: due ticks stay due."""
        self._due = DueTimes((key, timer.row.next_at) for key, timer in self._timers.items())
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._changed:
                await self._follow({key: self._timers[key].row for key in self._changed if key in self._timers})
            if self._was_set_back:
                await self._turn_back()
            while due := self._take_due():
                await self._fire(due)
            self._alarm.set(self._due.next_at())

    def _on_change(self, change: Change) -> None:
        if change.kind == records.TRIGGER:
            self._changed[change.parent, change.name] = None
            self._wake.set()

    def _on_set_back(self, back_s: float) -> None:
        log.warning("the clock was set back; docs/triggers.md describes how timers follow it", seconds=round(back_s))
        self._was_set_back = True
        self._wake.set()

    async def _follow(self, kept: dict[Key, TimerRow]) -> None:
        """Updates the rows of changed triggers, and keeps those that are still valid."""
        changed, self._changed = self._changed, {}
        wanted = {key: self._wanted(key, kept.get(key)) for key in changed}
        written = [each.row for key, each in wanted.items() if each is not None and each.row != kept.get(key)]
        removed = [key for key, each in wanted.items() if each is None and key in kept]

        def change(connection: sa.Connection) -> None:
            rows.remove(connection, removed)
            rows.put(connection, written)

        try:
            if written or removed:
                await self._needs.database.write(change)
        except BaseException:
            self._changed |= changed
            raise
        for key, timer in wanted.items():
            if timer is None:
                self._timers.pop(key, None)
                self._due.forget(key)
            else:
                self._put(key, timer)

    def _wanted(self, key: Key, kept: TimerRow | None) -> _Timer | None:
        """The timer of a trigger, with its stored row if that is still valid, else a new one; None if it has none."""
        record = self._needs.catalog.get(records.TRIGGER, *key)
        if record is None or record.document.trigger_type != configs.TIMER:
            return None
        trigger: Trigger = record.document
        config = _config(trigger)
        if not config.enable:
            return None
        try:
            schedule = schedules.timer(config.cron_expression)
        except schedules.NotASchedule as error:
            # Accepted by an earlier version, or with a time zone that has left the IANA database since.
            log.error(
                "a timer's schedule cannot be read", trigger=_name(key), schedule=config.cron_expression,
                reason=f"expected {error}",
            )  # fmt: skip
            return None
        since = min(record.modified_at, self._needs.clocks.wall())
        holds = kept is not None and (kept.trigger_id, kept.schedule) == (trigger.trigger_id, config.cron_expression)
        row = kept if holds else ticks.first_row(key, trigger, config, since)
        if row is None:
            log.error("a timer never comes due again", trigger=_name(key), schedule=config.cron_expression)
            return None
        return _Timer(row, schedule, record)

    async def _turn_back(self) -> None:
        now = self._needs.clocks.wall()
        moved = [
            (key, each, row)
            for key, each in self._timers.items()
            if (row := ticks.set_back(each.row, each.schedule, now)) is not each.row
        ]
        if moved:
            await self._needs.database.write(lambda connection: rows.put(connection, [row for _k, _e, row in moved]))
        self._was_set_back = False
        for key, each, row in moved:
            self._put(key, _Timer(row, each.schedule, each.record))

    def _put(self, key: Key, timer: _Timer) -> None:
        self._timers[key] = timer
        self._due.put(key, timer.row.next_at)

    def _take_due(self) -> dict[Key, _Timer]:
        return {key: self._timers[key] for key in self._due.take(self._needs.clocks.wall(), TICKS_AT_ONCE)}

    async def _fire(self, due: dict[Key, _Timer]) -> None:
        """Advances each tick's row and queues its invocation, in one transaction."""
        now = self._needs.clocks.wall()
        ticked = [(key, timer, ticks.tick(timer.row, timer.schedule, now)) for key, timer in due.items()]
        news = {key: self._invocation(timer, tick) for key, timer, tick in ticked}

        def commit(connection: sa.Connection) -> set[Key]:
            taken = {
                key
                for key, timer, tick in ticked
                if rows.claim(connection, timer.row, tick.following, timer.record.etag)
            }
            wanted = [new for key, new in news.items() if new is not None and key in taken]
            if wanted:
                self._needs.queue.enqueue_in(connection, wanted)
            return taken

        taken = await self._needs.database.write(commit, on_commit=self._needs.queue.notify)
        for key, timer, tick in ticked:
            if key in taken:
                self._tell_missed(timer, tick)
                # A change made meanwhile is followed next.
                if self._timers.get(key) is timer:
                    self._put(key, _Timer(tick.following, timer.schedule, timer.record))
            else:
                await self._read_again(key, timer)

    def _invocation(self, timer: _Timer, tick: ticks.Tick) -> NewInvocation | None:
        """None if the trigger's role does not allow the call; the tick then passes without one."""
        trigger: Trigger = timer.record.document
        service, _slash, function = timer.row.parent.partition("/")
        target = target_of(service, function, trigger)
        if reason := self._needs.roles.objection(service, function, trigger):
            log.warning("a timer did not call its function", trigger=_name(timer.row.key), reason=reason)
            return None
        event = tick_json(trigger.trigger_name, _config(trigger).payload, tick.at)
        return self._invocations.make(target, event, f"timer:{trigger.trigger_name}")

    def _tell_missed(self, timer: _Timer, tick: ticks.Tick) -> None:
        if tick.missed:
            log.warning(
                "a timer missed ticks; only the newest is made up for", trigger=_name(timer.row.key),
                first=utc.text_of(timer.row.next_at), newest=utc.text_of(tick.at),
            )  # fmt: skip

    async def _read_again(self, key: Key, timer: _Timer) -> None:
        """Handles a row that could not be claimed: the trigger has changed, or another process took the tick."""
        if key in self._changed or self._timers.get(key) is not timer:
            return
        row = await self._needs.database.read(lambda connection: rows.find(connection, key))
        if self._timers.get(key) is timer:
            if row is None or row == timer.row:
                self._changed[key] = None
                self._timers.pop(key)
                self._due.forget(key)
                self._wake.set()
            else:
                self._put(key, _Timer(row, timer.schedule, timer.record))


def _config(trigger: Trigger) -> configs.TimerConfig:
    return configs.read_timer(trigger.trigger_config)


def _name(key: Key) -> str:
    return trigger_label(*key)
