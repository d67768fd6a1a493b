"""Logs that arrive become invocations of the functions that triggers name: with their cursors, none passed over.

Run by pytest over real stores. The queue is a stand-in that keeps its rows in the database.
"""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.support.databases import new_database
from tests.support.fakes import FakeClocks
from tests.support.query_processes import query_processes
from tests.triggers.timer_harness import ACCOUNT, QUEUED, REGION, FakeQueue

from sesame.identity.authorization import Authorization
from sesame.identity.invocation_roles import InvocationRoles
from sesame.identity.roles import Roles
from sesame.model import records
from sesame.model.arn import Arns
from sesame.model.async_invocation import NewInvocation
from sesame.model.errors import PlatformError
from sesame.model.kinds import KINDS
from sesame.model.logstore import LogGroup, LogProject, LogRecord, Logstore
from sesame.model.trigger import Trigger
from sesame.store import outbox
from sesame.store.catalog import Catalog
from sesame.store.logs.logstores.interface import ConsumerGroup
from sesame.store.logs.logstores.store import LogStorage
from sesame.store.sql.database import Database
from sesame.triggers.log_arrivals import LogArrivalNeeds, LogTriggers

INTERVAL_S = 60


class Shop:
    """Everything between a logstore and the queue."""

    def __init__(self, folder: Path) -> None:
        self.clocks = FakeClocks()
        self.queue = FakeQueue()
        self.database = Database(new_database(folder / "db"))
        self.catalog = Catalog(self.database, KINDS, clock=self.clocks.wall)
        self.logstores = LogStorage(
            folder / "logstores.db", folder / "logstores", self.clocks, query_processes(), durable=False
        )

    async def open(self) -> None:
        await self.database.open()
        await self.catalog.open()
        await self.logstores.open()
        await self.logstores.create_project(LogProject("p"))
        await self.logstores.create_logstore(Logstore("p", "l", ttl_days=7, shards=1))
        self.triggers = await self.started()

    async def started(self) -> LogTriggers:
        """As after a start of Sesame."""
        roles = Roles(self.catalog)
        arns = Arns(REGION, ACCOUNT)
        triggers = LogTriggers(
            LogArrivalNeeds(
                catalog=self.catalog,
                database=self.database,
                logstores=self.logstores,
                queue=self.queue,
                roles=InvocationRoles(roles, Authorization(self.catalog, roles), arns, self.clocks.wall),
                endpoint="http://here",
                clocks=self.clocks,
            )
        )
        await triggers.open()
        return triggers

    async def trigger(self, name: str = "t", **values: Any) -> None:
        config = {
            "sourceConfig": {"logstore": "l"}, "jobConfig": {"maxRetryTime": 1, "triggerInterval": INTERVAL_S},
            "functionParameter": {"a": "b"}, "enable": True, **values,
        }  # fmt: skip
        source = f"acs:log:{REGION}:{ACCOUNT}:project/p"
        trigger = Trigger(name, f"id-{name}", "log", config, source)
        await self.catalog.edit(lambda tx: tx.put(records.TRIGGER, "s/f", name, trigger))

    async def log(self, text: str) -> None:
        record = LogRecord(int(self.clocks.wall()), 0, (("message", text),))
        await self.logstores.append("p", "l", LogGroup((record,)))

    async def ranges(self) -> list[tuple[int, int]]:
        """The cursors of every call in the queue."""
        found = await self.database.read(lambda c: outbox.pending(c, QUEUED))
        sources = [json.loads(msgspec.json.decode(e.payload, type=NewInvocation).payload)["source"] for e in found]
        return [(number(source["beginCursor"]), number(source["endCursor"])) for source in sources]


def number(cursor: str) -> int:
    return int(base64.b64decode(cursor))


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    await shop.open()
    yield shop
    await shop.logstores.close()
    await shop.database.close()


async def test_an_event_has_the_clouds_form(shop: Shop) -> None:
    await shop.trigger()
    assert await shop.triggers.fire() is None
    await shop.log("one")
    shop.clocks.set_wall(shop.clocks.wall() + INTERVAL_S)
    assert await shop.triggers.fire() == INTERVAL_S
    await move(shop, INTERVAL_S)
    assert await shop.triggers.fire() is None
    (entry,) = await shop.database.read(lambda c: outbox.pending(c, QUEUED))
    new = msgspec.json.decode(entry.payload, type=NewInvocation)
    assert (new.target.service, new.target.function, new.source) == ("s", "f", "log:t")
    # The trigger's own, whatever the function has for its asynchronous calls.
    assert new.meta.max_retries == 1
    event = json.loads(new.payload)
    assert len(event.pop("taskId")) == 36
    assert event == {
        "parameter": {"a": "b"},
        "source": {
            "endpoint": "http://here", "projectName": "p", "logstoreName": "l", "shardId": 0,
            "beginCursor": "MA==", "endCursor": "MQ==",
        },
        "jobName": "t",
        "cursorTime": int(FakeClocks().wall()),
    }  # fmt: skip


async def move(shop: Shop, seconds: float) -> None:
    await shop.clocks.pass_time(seconds)


async def test_a_trigger_whose_logs_cannot_be_read_holds_up_no_other(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.logstores.create_logstore(Logstore("p", "damaged", ttl_days=7, shards=1))
    shards = shop.logstores.shards

    async def of_whole_ones(project: str, logstore: str) -> Any:
        if logstore == "damaged":
            raise PlatformError("its file is damaged")
        return await shards(project, logstore)

    monkeypatch.setattr(shop.logstores, "shards", of_whole_ones)
    await shop.trigger("a-damaged", sourceConfig={"logstore": "damaged"})
    await shop.trigger()
    for _ in range(2):
        await shop.log("one")
        with capture_logs() as logged:
            assert await shop.triggers.fire() == INTERVAL_S
        (line,) = logged
        assert (line["event"], line["trigger"]) == ("a log trigger could not be fired", "s/f/a-damaged")
        await move(shop, INTERVAL_S)
    assert len(await shop.ranges()) == 2
    monkeypatch.undo()
    assert await shop.triggers.fire() is None


@pytest.mark.parametrize("start", [10**30, -(10**30)])
async def test_a_trigger_with_numbers_beyond_64_bits_stops_no_other(shop: Shop, start: int) -> None:
    await shop.trigger(
        sourceConfig={"logstore": "l", "startTime": start}, jobConfig={"maxRetryTime": 1, "triggerInterval": 10**400}
    )
    await shop.triggers.fire()
    await shop.log("one")
    assert await shop.triggers.fire() is not None


async def test_a_trigger_deleted_while_it_cannot_be_fired_is_not_tried_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deleted_meanwhile(_project: str, _logstore: str) -> Any:
        await shop.catalog.edit(lambda tx: tx.delete(records.TRIGGER, "s/f", "t"))
        raise PlatformError("its file is damaged")

    await shop.trigger()
    monkeypatch.setattr(shop.logstores, "shards", deleted_meanwhile)
    assert await shop.triggers.fire() is None, "there is nothing to wait for"


async def test_what_came_before_the_trigger_is_not_told_whatever_it_says_later(shop: Shop) -> None:
    began_s = int(shop.clocks.wall())
    await shop.log("before")
    await move(shop, 10)
    await shop.trigger()
    await shop.triggers.fire()
    assert await shop.ranges() == []
    await shop.trigger(sourceConfig={"logstore": "l", "startTime": began_s})
    await move(shop, INTERVAL_S)
    await shop.triggers.fire()
    # It has begun: a `startTime` that comes later moves no cursor.
    assert await shop.ranges() == []


async def test_after_a_crash_between_the_call_and_the_cursor_the_same_logs_are_told_again(shop: Shop) -> None:
    await shop.trigger()
    await shop.log("one")
    shop.queue.fails = True
    assert await shop.triggers.fire() == INTERVAL_S
    shop.queue.fails = False
    again = await shop.started()
    await again.fire()
    await shop.log("two")
    restarted = await shop.started()
    await restarted.fire()
    assert await shop.ranges() == [(0, 1), (1, 2)]


async def test_a_new_trigger_begins_where_it_says(shop: Shop) -> None:
    began_s = int(shop.clocks.wall())
    await shop.log("before")
    await move(shop, 10)
    await shop.trigger(sourceConfig={"logstore": "l", "startTime": began_s})
    await shop.triggers.fire()
    assert await shop.ranges() == [(0, 1)]


async def test_a_disabled_trigger_and_a_missing_logstore_call_nothing(shop: Shop) -> None:
    await shop.trigger(enable=False)
    await shop.log("one")
    assert await shop.triggers.fire() is None
    await shop.trigger(sourceConfig={"logstore": "missing"})
    assert await shop.triggers.fire() is None
    assert await shop.ranges() == []


async def test_a_consumer_group_with_a_colon_keeps_its_checkpoints_when_sesame_starts(shop: Shop) -> None:
    await shop.log("one")
    for name in ("team:readers", "trigger:readers"):
        await shop.logstores.create_group("p", "l", ConsumerGroup(name, 60))
        await shop.logstores.set_checkpoint("p", "l", name, 0, 1)
    await shop.logstores.reader_cursors.set("p", "l", "trigger:gone", {0: 1})
    await shop.started()
    for name in ("team:readers", "trigger:readers"):
        assert await shop.logstores.reader_cursors.get("p", "l", name) == {0: 1}
    assert await shop.logstores.reader_cursors.get("p", "l", "trigger:gone") == {}
