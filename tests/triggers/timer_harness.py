"""Timer triggers over a real database and a clock that the test moves; the queue keeps what it is given there too.

Used by the tests of timers, and run as a program by the one that kills it.
"""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from tests.support.fakes import FakeClocks

from sesame.identity.authorization import Authorization
from sesame.identity.invocation_roles import InvocationRoles
from sesame.identity.roles import Roles
from sesame.model import records
from sesame.model.arn import Arns
from sesame.model.async_invocation import NewInvocation
from sesame.model.kinds import KINDS
from sesame.model.trigger import Trigger
from sesame.store import outbox
from sesame.store.catalog import Catalog, Transaction
from sesame.store.sql.database import Database
from sesame.triggers.timers import TimerNeeds, TimerTriggers

ACCOUNT, REGION = "42", "cn-hangzhou"
QUEUED = "test.queued"


class FakeQueue:
    """Keeps invocations as entries of the outbox, so that they stand or fall with the transaction."""

    def __init__(self) -> None:
        self.fails = False
        self.notified = 0
        self.commits = 0

    def enqueue_in(self, connection: sa.Connection, news: Sequence[NewInvocation]) -> list[bool]:
        self.commits += 1
        outbox.add_each(connection, QUEUED, [(new.invocation_id, msgspec.json.encode(new)) for new in news], 1.0)
        if self.fails:
            raise RuntimeError("the queue failed")
        return [True] * len(news)

    def notify(self, _result: object = None) -> None:
        self.notified += 1


class Clockwork:
    """Timers that run as a task, on a database that outlives them."""

    def __init__(self, place: Path | str, wall: float | None = None) -> None:
        """`place` is a file, or the URL of a PostgreSQL database."""
        self.clocks = FakeClocks(wall)
        self.queue = FakeQueue()
        self.database = Database(place)
        self.catalog = Catalog(self.database, KINDS, clock=self.clocks.wall)
        self.roles = Roles(self.catalog)
        arns = Arns(REGION, ACCOUNT)
        authorization = Authorization(self.catalog, self.roles)
        self.timers = TimerTriggers(
            TimerNeeds(
                catalog=self.catalog,
                database=self.database,
                queue=self.queue,
                roles=InvocationRoles(self.roles, authorization, arns, self.clocks.wall),
                clocks=self.clocks,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.database.open()
        self.clocks.settle_with(lambda: self.database.write(lambda _connection: None))
        await self.catalog.open()
        await self.timers.open()
        self.start()

    def start(self) -> None:
        self._task = asyncio.create_task(self.timers.run())

    async def stop(self) -> None:
        """Ends the task alone, as an error would."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def failure(self) -> BaseException | None:
        """What the task ended with."""
        assert self._task is not None
        await asyncio.wait([self._task], timeout=10)
        return self._task.exception()

    async def close(self) -> None:
        await self.stop()
        self.timers.close()
        await self.database.close()

    async def put(self, cron: str, name: str = "t", **values: Any) -> Trigger:
        """Creates or replaces `s/f`'s trigger; `enable` and `payload` go into its configuration."""
        config = {"cronExpression": cron} | {key: values.pop(key) for key in ("enable", "payload") if key in values}
        trigger = Trigger(
            trigger_name=name,
            trigger_id=values.pop("trigger_id", f"id-{name}"),
            trigger_type=values.pop("trigger_type", "timer"),
            trigger_config=config,
            **values,
        )
        await self.catalog.edit(lambda tx: tx.put(records.TRIGGER, "s/f", name, trigger))
        return trigger

    async def put_many(self, crons: Mapping[str, str]) -> None:
        """By the name of the trigger, in one commit."""

        def edit(tx: Transaction) -> None:
            for name, cron in crons.items():
                trigger = Trigger(name, f"id-{name}", "timer", {"cronExpression": cron})
                tx.put(records.TRIGGER, "s/f", name, trigger)

        await self.catalog.edit(edit)

    async def delete(self, name: str = "t") -> None:
        await self.catalog.edit(lambda tx: tx.delete(records.TRIGGER, "s/f", name))

    async def queued(self) -> list[NewInvocation]:
        entries = await self.database.read(lambda connection: outbox.pending(connection, QUEUED, 1_000_000))
        return [msgspec.json.decode(entry.payload, type=NewInvocation) for entry in entries]

    async def times(self, name: str = "t") -> list[str]:
        """`triggerTime` of every event of this trigger, in order of commit."""
        events = [json.loads(new.payload) for new in await self.queued() if new.source == f"timer:{name}"]
        return [event["triggerTime"] for event in events]


async def tick_forever(place: Path, wall: float) -> None:
    """Lets a second pass after the other, and says each."""
    work = Clockwork(place, wall)
    await work.open()
    while True:
        await work.clocks.pass_time(1)
        sys.stdout.write(f"{work.clocks.wall()}\n")
        sys.stdout.flush()


def main(place: str, wall: str) -> None:
    asyncio.run(tick_forever(Path(place), float(wall)))
