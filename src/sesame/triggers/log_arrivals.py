"""Calls functions when logs have arrived in their triggers' logstores, with the cursors that enclose them.

Run by `app`. A call is queued before the cursor advances: after a crash a function may be called twice for the same
logs, but no log is skipped.
"""

import asyncio
import base64
import math
from collections.abc import Iterator
from typing import Protocol

import msgspec
import structlog

from sesame.control.trigger_checks import LOG_RETRIES_MAX
from sesame.identity.invocation_roles import InvocationRoles
from sesame.model import records
from sesame.model import trigger_configs as configs
from sesame.model.async_invocation import NewInvocation
from sesame.model.clocks import Clocks
from sesame.model.errors import NotFound
from sesame.model.log_arrival_json import LogArrival, log_arrival_json
from sesame.model.owner import trigger_label
from sesame.model.records import Record
from sesame.model.trigger import Trigger, log_project_of
from sesame.store.catalog import Catalog, Change
from sesame.store.logs.logstores.interface import Logstores
from sesame.store.logs.logstores.reader_cursors import READERS, ReaderCursors
from sesame.store.sql.database import Database
from sesame.triggers.invocations import Queue, TriggeredInvocations, target_of

# POLICY: a longer interval than about thirty years means never.
INTERVAL_S_MAX = 10**9

log = structlog.get_logger(__name__)


class LogStorage(Logstores, Protocol):
    @property
    def reader_cursors(self) -> ReaderCursors: ...


class LogArrivalNeeds(msgspec.Struct, frozen=True, kw_only=True):
    """`endpoint` is the address at which functions reach the Log Service."""

    catalog: Catalog
    database: Database
    logstores: LogStorage
    queue: Queue
    roles: InvocationRoles
    endpoint: str
    clocks: Clocks


class _Watched(msgspec.Struct, frozen=True):
    """An enabled log trigger with its settings."""

    service: str
    function: str
    trigger: Trigger
    config: configs.LogTriggerConfig
    created_s: int

    @property
    def place(self) -> tuple[str, str]:
        return log_project_of(self.trigger), self.config.source_config.logstore

    @property
    def reader(self) -> str:
        return f"{READERS}{self.trigger.trigger_id}"


class LogTriggers:
    """Call `open` before logs are accepted; `run` for as long as Sesame runs."""

    def __init__(self, needs: LogArrivalNeeds) -> None:
        self._needs = needs
        self._invocations = TriggeredInvocations(needs.catalog, needs.clocks)
        self._watched: dict[str, _Watched] = {}
        # Triggers whose logstores may have received logs since they last fired.
        self._pending: set[str] = set()
        # When each trigger last fired (monotonic seconds).
        self._fired_at: dict[str, float] = {}
        self._wake = asyncio.Event()

    async def open(self) -> None:
        self._watch()
        self._needs.catalog.on_change(self._changed)
        self._needs.logstores.subscribe(self._arrived)
        await self._needs.logstores.reader_cursors.forget_others(set(self._watched))

    async def run(self) -> None:
        """Never returns. Begins with logs that arrived while Sesame was not running."""
        while True:
            self._wake.clear()
            wait_s = await self.fire()
            timer = self._needs.clocks.call_later(wait_s, self._wake.set) if wait_s is not None else None
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    async def fire(self) -> float | None:
        """Fires the triggers that are due; returns the seconds until the next one, or None if none waits.

        One that cannot be fired does not hold up the others: it is tried again after its interval.
        """
        soonest_s = math.inf
        for reader in sorted(self._pending):
            watched = self._watched.get(reader)
            if watched is None:
                # Deleted while another trigger fired.
                continue
            interval_s = min(watched.config.job_config.trigger_interval, INTERVAL_S_MAX)
            due_s = self._fired_at.get(reader, -math.inf) + interval_s
            wait_s = due_s - self._needs.clocks.monotonic()
            if wait_s > 0:
                soonest_s = min(soonest_s, wait_s)
                continue
            self._pending.discard(reader)
            try:
                await self._fire(watched)
            except NotFound as missing:
                _warn(watched, str(missing))
            except Exception:
                log.exception("a log trigger could not be fired", trigger=_name(watched), again_s=interval_s)
                if self._remains_pending(reader):
                    soonest_s = min(soonest_s, interval_s)
            except BaseException:
                self._remains_pending(reader)
                raise
            if reader in self._watched:
                self._fired_at[reader] = self._needs.clocks.monotonic()
        return None if math.isinf(soonest_s) else soonest_s

    def _remains_pending(self, reader: str) -> bool:
        """False if the trigger was deleted while it fired."""
        if reader in self._watched:
            self._pending.add(reader)
        return reader in self._pending

    async def _fire(self, watched: _Watched) -> None:
        reason = self._needs.roles.objection(watched.service, watched.function, watched.trigger)
        if reason:
            _warn(watched, reason)
            return
        project, logstore = watched.place
        cursors = await self._needs.logstores.reader_cursors.get(project, logstore, watched.reader)
        ends: dict[int, int] = {}
        news: list[NewInvocation] = []
        for shard in await self._needs.logstores.shards(project, logstore):
            begin = cursors.get(shard.id)
            if begin is None:
                # A time later than now is equivalent to now; a number of arbitrary size would be refused.
                since_s = max(watched.config.source_config.start_time or watched.created_s, 0)
                since_s = min(since_s, int(self._needs.clocks.wall()) + 1)
                begin = await self._needs.logstores.cursor(project, logstore, shard.id, since_s)
            end = await self._needs.logstores.cursor(project, logstore, shard.id, "end")
            if shard.id not in cursors or begin < end:
                ends[shard.id] = max(begin, end)
            if begin < end:
                news.append(await self._invocation(watched, shard.id, begin, end))
        if news:
            queue = self._needs.queue
            await self._needs.database.write(lambda c: queue.enqueue_in(c, news), on_commit=queue.notify)
        if ends:
            await self._needs.logstores.reader_cursors.set(project, logstore, watched.reader, ends)

    async def _invocation(self, watched: _Watched, shard: int, begin: int, end: int) -> NewInvocation:
        project, logstore = watched.place
        arrival = LogArrival(
            endpoint=self._needs.endpoint,
            project=project,
            logstore=logstore,
            shard=shard,
            begin=_text(begin),
            end=_text(end),
            cursor_time=await self._needs.logstores.cursor_time(project, logstore, shard, begin),
        )
        name = watched.trigger.trigger_name
        payload = log_arrival_json(arrival, name, watched.config.function_parameter)
        target = target_of(watched.service, watched.function, watched.trigger)
        retries = min(max(watched.config.job_config.max_retry_time, 0), LOG_RETRIES_MAX)
        return self._invocations.make(target, payload, f"log:{name}", retries=retries)

    def _arrived(self, project: str, logstore: str) -> None:
        for reader, watched in self._watched.items():
            if watched.place == (project, logstore):
                self._pending.add(reader)
                self._wake.set()

    def _changed(self, change: Change) -> None:
        if change.kind == records.TRIGGER:
            self._watch()
            self._wake.set()

    def _watch(self) -> None:
        """Marks new and changed triggers as pending, as they may have missed logs."""
        before, self._watched = self._watched, {each.reader: each for each in self._enabled()}
        self._pending &= self._watched.keys()
        self._pending |= {reader for reader, watched in self._watched.items() if before.get(reader) != watched}
        self._fired_at = {reader: at for reader, at in self._fired_at.items() if reader in self._watched}

    def _enabled(self) -> Iterator[_Watched]:
        for record in self._needs.catalog.of_kind(records.TRIGGER):
            watched = _read(record)
            if watched is not None:
                yield watched


def _read(record: Record) -> _Watched | None:
    trigger: Trigger = record.document
    if trigger.trigger_type != configs.LOG:
        return None
    config = configs.read_log(trigger.trigger_config)
    service, _slash, function = record.parent.partition("/")
    return _Watched(service, function, trigger, config, int(record.created_at)) if config.enable else None


def _warn(watched: _Watched, reason: str) -> None:
    log.warning("a log trigger did not call its function", trigger=_name(watched), reason=reason)


def _name(watched: _Watched) -> str:
    return trigger_label(f"{watched.service}/{watched.function}", watched.trigger.trigger_name)


def _text(cursor: int) -> str:
    """The cursor as the Log Service encodes it."""
    return base64.b64encode(str(cursor).encode()).decode()
