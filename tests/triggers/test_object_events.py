"""Events of objects become invocations of the functions that triggers name: once each, whatever happens on the way.

Run by pytest over real stores, on each database. The queue is a stand-in that keeps its rows in the same database.
"""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from tests.support.fakes import FakeClocks
from tests.support.virtual_time import eventually
from tests.triggers.timer_harness import ACCOUNT, QUEUED, REGION, FakeQueue

from sesame.identity.authorization import Authorization
from sesame.identity.invocation_roles import InvocationRoles
from sesame.identity.roles import Roles, new_role, role_arn, trust_of_service
from sesame.model import object_event, records
from sesame.model.arn import Arns
from sesame.model.async_invocation import NewInvocation
from sesame.model.bucket import Bucket
from sesame.model.configs import AsyncConfig, Destination, DestinationConfig, async_config_name
from sesame.model.kinds import KINDS
from sesame.model.object import ObjectKind, ObjectMeta, StoredObject
from sesame.model.object_event import Cause
from sesame.model.role import Policy
from sesame.model.trigger import Trigger
from sesame.store import outbox
from sesame.store.blobs.files import FileBlobs
from sesame.store.catalog import Catalog
from sesame.store.objects.events import Changed
from sesame.store.objects.objects import Objects
from sesame.store.sql.database import Database
from sesame.triggers.object_events import EVENTS_AT_ONCE, LOOK_EVERY_S, ObjectEventNeeds, ObjectEventTriggers

NOTIFIER = role_arn(ACCOUNT, "AliyunOSSEventNotificationRole")


class Shop:
    """Everything between an object and the queue, on a folder that outlives it."""

    def __init__(self, root: Path, place: Path | str) -> None:
        self.clocks = FakeClocks()
        self.queue = FakeQueue()
        self.database = Database(place)
        self.catalog = Catalog(self.database, KINDS, clock=self.clocks.wall)
        self.objects = Objects(self.database, FileBlobs(root / "objects"))
        self.roles = Roles(self.catalog)
        arns = Arns(REGION, ACCOUNT)
        authorization = Authorization(self.catalog, self.roles)
        self.triggers = ObjectEventTriggers(
            ObjectEventNeeds(
                catalog=self.catalog,
                database=self.database,
                events=self.objects.events,
                queue=self.queue,
                roles=InvocationRoles(self.roles, authorization, arns, self.clocks.wall),
                arns=arns,
                clocks=self.clocks,
            )
        )

    async def open(self) -> None:
        await self.database.open()
        await self.catalog.open()
        await self.objects.open()
        await self.roles.seed(ACCOUNT, {})
        bucket = Bucket("photos", ACCOUNT)
        await self.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "photos", bucket))
        self.triggers.open()

    async def close(self) -> None:
        await self.objects.close()
        await self.database.close()

    async def trigger(self, name: str = "t", function: str = "f", **values: Any) -> Trigger:
        config = {"events": values.pop("events", ["oss:ObjectCreated:*"]), **values.pop("config", {})}
        source = f"acs:oss:{REGION}:{ACCOUNT}:photos"
        trigger = Trigger(name, f"id-{name}", "oss", config, source, values.pop("role", NOTIFIER), **values)
        await self.catalog.edit(lambda tx: tx.put(records.TRIGGER, f"s/{function}", name, trigger))
        return trigger

    async def remove(self, name: str = "t", function: str = "f") -> None:
        await self.catalog.edit(lambda tx: tx.delete(records.TRIGGER, f"s/{function}", name))

    async def put(self, key: str = "a.jpg", event: str = object_event.PUT_OBJECT, **meta: Any) -> None:
        stored = StoredObject(
            "photos", key, "", 5, "E" * 32, 0, ObjectKind.SYMLINK, ObjectMeta(**meta), self.clocks.wall()
        )
        cause = Cause(
            event=event,
            account_id=ACCOUNT,
            principal_id="me",
            at=self.clocks.wall(),
            source_ip="10.0.0.1",
            request_id="5F",
            chain=("s/g",),
        )
        await self.objects.put(stored, cause)

    async def queued(self) -> list[NewInvocation]:
        found = await self.database.read(lambda c: outbox.pending(c, QUEUED))
        return [msgspec.json.decode(entry.payload, type=NewInvocation) for entry in found]

    async def waiting(self) -> int:
        return len(await self.database.read(lambda c: outbox.pending(c, outbox.OBJECT_EVENT)))


@contextlib.asynccontextmanager
async def shop_in(root: Path, place: Path | str) -> AsyncIterator[Shop]:
    shop = Shop(root, place)
    await shop.open()
    try:
        yield shop
    finally:
        await shop.close()


@pytest.fixture
async def shop(tmp_path: Path, place: Path | str) -> AsyncIterator[Shop]:
    async with shop_in(tmp_path, place) as shop:
        yield shop


async def test_an_event_has_the_clouds_form(shop: Shop) -> None:
    await shop.trigger(qualifier="prod")
    headers = {"content-type": "image/jpeg", "x-oss-meta-a": "1"}
    await shop.put("ü/a+b c.jpg", headers=headers)
    assert await shop.triggers.pass_on() == 1
    (new,) = await shop.queued()
    assert (new.target.service, new.target.qualifier, new.target.function) == ("s", "prod", "f")
    assert (new.source, new.stateful, new.invocation_id) == ("oss:t", False, new.request_id)
    assert (new.not_before, new.expires_at) == (shop.clocks.wall(), shop.clocks.wall() + 86_400)
    assert (new.meta.chain, shop.queue.notified) == (("s/g",), 1)
    assert await shop.waiting() == 0
    assert json.loads(new.payload) == {
        "events": [
            {
                "eventName": "ObjectCreated:PutObject",
                "eventSource": "acs:oss",
                "eventTime": "2023-11-14T22:30:00.000Z",
                "eventVersion": "1.0",
                "oss": {
                    "bucket": {
                        "arn": "acs:oss:cn-hangzhou:42:photos",
                        "name": "photos",
                        "ownerIdentity": "42",
                        "virtualBucket": "",
                    },
                    "object": {
                        "deltaSize": 5,
                        "eTag": "E" * 32,
                        "key": "ü/a+b c.jpg",
                        "objectMeta": {"mimeType": "image/jpeg", "userMeta": {"x-oss-meta-a": "1"}},
                        "size": 5,
                    },
                    "ossSchemaVersion": "1.0",
                    "ruleId": hashlib.sha1(b"id-t").hexdigest(),
                },
                "region": "cn-hangzhou",
                "requestParameters": {"sourceIPAddress": "10.0.0.1"},
                "responseElements": {"requestId": "5F"},
                "userIdentity": {"principalId": "me"},
            }
        ]
    }


async def test_the_asynchronous_configuration_of_the_function_counts(shop: Shop) -> None:
    await shop.trigger()
    config = AsyncConfig(
        "s", "f", "LATEST", max_async_event_age_in_seconds=60, stateful_invocation=True,
        max_async_retry_attempts=1, destination_config=DestinationConfig(on_failure=Destination("http://h/no")),
    )  # fmt: skip
    await shop.catalog.edit(lambda tx: tx.put(records.ASYNC_CONFIG, "s", async_config_name("f", "LATEST"), config))
    await shop.put()
    await shop.triggers.pass_on()
    (new,) = await shop.queued()
    assert (new.stateful, new.expires_at, new.target.qualifier) == (True, shop.clocks.wall() + 60, "LATEST")
    assert (new.meta.max_retries, new.meta.on_failure) == (1, "http://h/no")


async def test_a_trigger_is_heard_from_its_creation_to_its_end(shop: Shop) -> None:
    await shop.put("before")
    await shop.trigger(config={"filter": {"key": {"prefix": "in/", "suffix": ".jpg"}}})
    await shop.put("in/a.jpg")
    await shop.put("out/a.jpg")
    await shop.trigger(events=["oss:ObjectRemoved:*"])
    await shop.put("in/b.jpg")
    await shop.trigger(config={"enable": False})
    await shop.put("in/c.jpg")
    await shop.trigger()
    await shop.put("anything")
    await shop.remove()
    await shop.put("after")
    assert await shop.waiting() == 2
    await shop.trigger()
    await shop.triggers.pass_on()
    keys = [json.loads(new.payload)["events"][0]["oss"]["object"]["key"] for new in await shop.queued()]
    assert keys == ["in/a.jpg", "anything"]


async def test_each_trigger_gets_its_own_events(shop: Shop) -> None:
    await shop.trigger("jpg", "f", config={"filter": {"key": {"suffix": ".jpg"}}})
    await shop.trigger("png", "g", config={"filter": {"key": {"suffix": ".png"}}})
    for key in ("a.jpg", "b.png", "c.txt"):
        await shop.put(key)
    await shop.triggers.pass_on()
    assert [(new.target.function, new.source) for new in await shop.queued()] == [("f", "oss:jpg"), ("g", "oss:png")]


async def test_events_of_a_trigger_that_was_deleted_meanwhile_call_nothing(shop: Shop) -> None:
    await shop.trigger()
    await shop.put()
    await shop.remove()
    assert await shop.triggers.pass_on() == 1
    assert (await shop.queued(), await shop.waiting()) == ([], 0)


@pytest.mark.parametrize(
    ("trust", "policy", "calls"),
    [
        ("oss.aliyuncs.com", {"Action": "fc:InvokeFunction", "Resource": "*"}, True),
        ("fc.aliyuncs.com", {"Action": "fc:*", "Resource": "acs:fc:*:*:services/s/functions/*"}, True),
        ("oss.aliyuncs.com", {"Action": "fc:InvokeFunction", "Resource": "acs:fc:*:*:services/s/functions/g"}, False),
        ("oss.aliyuncs.com", {"Action": "oss:*", "Resource": "*"}, False),
        ("log.aliyuncs.com", {"Action": "fc:InvokeFunction", "Resource": "*"}, False),
    ],
)
async def test_the_invocation_role_must_permit_the_call(
    shop: Shop, trust: str, policy: dict[str, str], calls: bool
) -> None:
    document = json.dumps({"Version": "1", "Statement": [{"Effect": "Allow", **policy}]})
    await shop.roles.put_policy(ACCOUNT, Policy("own", document))
    await shop.roles.put(ACCOUNT, new_role("caller", ["own"], trust=trust_of_service(trust)))
    await shop.trigger(role=role_arn(ACCOUNT, "caller"))
    await shop.put()
    await shop.triggers.pass_on()
    assert len(await shop.queued()) == calls
    assert await shop.waiting() == 0


async def test_without_a_role_nothing_is_asked_and_one_that_is_gone_calls_nothing(shop: Shop) -> None:
    await shop.trigger(role="")
    await shop.put()
    await shop.trigger(role="AliyunOSSEventNotificationRole")
    await shop.put()
    await shop.trigger(role=role_arn(ACCOUNT, "gone"))
    await shop.put()
    for _ in range(3):
        await shop.triggers.pass_on()
    # The role is read when the events are passed on.
    assert await shop.queued() == []
    await shop.trigger(role="")
    await shop.put()
    await shop.triggers.pass_on()
    assert len(await shop.queued()) == 1


async def test_events_stay_when_the_queue_cannot_take_them(shop: Shop) -> None:
    await shop.trigger()
    await shop.put()
    shop.queue.fails = True
    with pytest.raises(RuntimeError):
        await shop.triggers.pass_on()
    assert (await shop.queued(), await shop.waiting()) == ([], 1)
    shop.queue.fails = False
    await shop.triggers.pass_on()
    assert (len(await shop.queued()), await shop.waiting()) == (1, 0)


async def test_what_the_last_run_left_is_passed_on_at_the_next_start(tmp_path: Path, place: Path | str) -> None:
    async with shop_in(tmp_path, place) as first:
        await first.trigger()
        await asyncio.gather(*(first.put(f"{number}") for number in range(EVENTS_AT_ONCE + 1)))
    async with shop_in(tmp_path, place) as second, running(second):
        await until(second, EVENTS_AT_ONCE + 1)

        async def none_waits() -> bool:
            return await second.waiting() == 0

        # They are in the queue a moment before they are out of the catalog.
        await eventually(none_waits)


async def test_events_are_passed_on_as_soon_as_they_are_committed(shop: Shop) -> None:
    await shop.trigger()
    async with running(shop):
        for number in range(1, 4):
            await shop.put()
            await until(shop, number)


async def test_an_event_whose_announcement_was_lost_waits_for_the_next_look(shop: Shop) -> None:
    await shop.trigger()
    async with running(shop):
        cause = Cause(event=object_event.PUT_OBJECT, account_id=ACCOUNT, principal_id="me", at=1.0)
        changed = Changed("photos", "k", ObjectMeta())
        # The look at the start is over: the next one is a timer.
        await eventually(lambda: bool(shop.clocks.timers))
        await shop.database.write(lambda c: shop.objects.events.note(c, cause, [changed]))
        assert await shop.waiting() == 1
        shop.clocks.advance(LOOK_EVERY_S)
        await until(shop, 1)


@contextlib.asynccontextmanager
async def running(shop: Shop) -> AsyncIterator[None]:
    task = asyncio.create_task(shop.triggers.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(shop: Shop, count: int) -> None:
    async def are_queued() -> bool:
        return len(await shop.queued()) >= count

    await eventually(are_queued)


async def test_the_oldest_events_are_read_without_reading_all(tmp_path: Path) -> None:
    """However many wait: they are read in the order in which they were committed, and only as many as are asked for."""
    async with shop_in(tmp_path, tmp_path / "db") as shop:
        statements: list[tuple[str, Any]] = []

        def plan(connection: sa.Connection) -> list[str]:
            @sa.event.listens_for(connection, "before_cursor_execute")
            def heard(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
                statements.append((statement, parameters))

            outbox.pending(connection, outbox.OBJECT_EVENT, 2)
            sa.event.remove(connection, "before_cursor_execute", heard)
            statement, parameters = statements[-1]
            found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            return [row.detail for row in found]

        assert await shop.database.read(plan) == ["SCAN outbox"]
