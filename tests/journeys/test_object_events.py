"""Objects and their events survive `kill -9` together: each change has its event, once, and no event is without one.

Run against servers of its own. Never kills anything but the server that it started.
SESAME_TORTURE_SEED sets the random moments.
"""

import asyncio
import contextlib
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import oss2
import pytest
import sqlalchemy as sa
from tests.journeys.conftest import ACCOUNT_ID, FUNCTIONS, KEY_ID, REGION, SECRET, Sesame, running

from sesame.model.object_event import ObjectEvent
from sesame.model.object_event_json import event_json
from sesame.store import outbox
from sesame.store.sql.database import Database
from sesame.store.sql.queue_schema import invocations

RUNTIME = "python3"
ROUNDS = 2
WRITERS = 3
LIFE_S_MAX = 0.5
EVENTS = ["oss:ObjectCreated:*", "oss:ObjectRemoved:*"]
SOURCE = f"acs:oss:{REGION}:{ACCOUNT_ID}:killed"
ROLE = f"acs:ram::{ACCOUNT_ID}:role/aliyunosseventnotificationrole"
CREATED, REMOVED = "ObjectCreated:PutObject", "ObjectRemoved:DeleteObject"


class Writer:
    """Puts objects and deletes some of them, each key once, until the server is gone; knows what was acknowledged."""

    def __init__(self, number: int, seed: int) -> None:
        self._number = number
        self._random = random.Random(f"{seed}-{number}")
        self._keys = 0
        self.put: set[str] = set()
        self.deleted: set[str] = set()

    def work(self, bucket: oss2.Bucket) -> None:
        with contextlib.suppress(oss2.exceptions.RequestError, ConnectionError):
            while True:
                key = f"in/{self._number}-{self._keys}"
                self._keys += 1
                bucket.put_object(key, b"data")
                self.put.add(key)
                if self._random.random() < 0.3:
                    bucket.delete_object(key)
                    self.deleted.add(key)


def bucket_of(server: Sesame) -> oss2.Bucket:
    endpoint = json.loads((server.data_dir / "endpoints.json").read_text())["oss"]
    return oss2.Bucket(oss2.Auth(KEY_ID, SECRET), endpoint, "killed", connect_timeout=5)


async def _payloads(database: Database) -> list[bytes]:
    """Of the events that wait in the outbox, as functions get them, and of those that the queue was given."""
    await database.open()
    try:
        waiting = await database.read(lambda c: outbox.pending(c, outbox.OBJECT_EVENT))
        queued = await database.read(lambda c: list(c.execute(sa.select(invocations.c.payload)).scalars()))
    finally:
        await database.close()
    return [*(event_json(msgspec.json.decode(entry.payload, type=ObjectEvent), REGION) for entry in waiting), *queued]


def events(database: Path | str) -> Counter[tuple[str, str]]:
    """How often each event was committed, by name and key. Sesame must not run on the database."""
    found: Counter[tuple[str, str]] = Counter()
    for payload in asyncio.run(_payloads(Database(database))):
        (event,) = json.loads(payload)["events"]
        found[event["eventName"], event["oss"]["object"]["key"]] += 1
    return found


# What the stores of events owe is tried on both in tests/triggers.
@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.torture)])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Sesame, Path | str]]:
    """A server of this test's own, and the database that it keeps everything in."""
    url: str = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else ""
    with running(tmp_path, *(("--database", url) if url else ()), runtime=RUNTIME) as server:
        yield server, url or server.data_dir / "sesame.db"


def test_every_change_has_its_event_and_no_event_is_without_a_change(stores: tuple[Sesame, Path | str]) -> None:
    server, database = stores
    seed = int(os.environ.get("SESAME_TORTURE_SEED", time.time_ns()))
    print(f"SESAME_TORTURE_SEED={seed}")
    moments = random.Random(seed)
    client = server.client()
    client.create_service("s")
    client.create_function("s", "f", runtime=RUNTIME, handler="index.my_handler", codeDir=str(FUNCTIONS / "hello"))
    bucket_of(server).create_bucket()
    config = {"events": EVENTS, "filter": {"key": {"prefix": "in/", "suffix": ""}}}
    client.create_trigger("s", "f", "t", "oss", config, SOURCE, ROLE)
    writers = [Writer(number, seed) for number in range(WRITERS)]
    for _round in range(ROUNDS):
        threads = [threading.Thread(target=writer.work, args=(bucket_of(server),)) for writer in writers]
        for thread in threads:
            thread.start()
        time.sleep(moments.uniform(0.02, LIFE_S_MAX))
        server.kill()
        for thread in threads:
            thread.join()
        server.start()
    there = {each.key for each in oss2.ObjectIterator(bucket_of(server), prefix="in/")}
    server.stop()
    found = events(database)
    gone = {key for name, key in found if name == REMOVED}
    assert set(found.values()) == {1}, "an event was committed twice"
    assert {key for name, key in found if name == CREATED} == there | gone
    assert there.isdisjoint(gone)
    acknowledged = {key for writer in writers for key in writer.put}
    deleted = {key for writer in writers for key in writer.deleted}
    assert acknowledged <= there | gone
    assert deleted <= gone
    assert len(acknowledged) > ROUNDS


def test_a_trigger_is_refused_without_its_bucket_and_beside_one_that_overlaps(
    own_sesame: Sesame, fails: Callable[..., dict[str, Any]]
) -> None:
    client = own_sesame.client()
    client.create_service("s")
    client.create_function("s", "f", runtime=RUNTIME, handler="index.my_handler", codeDir=str(FUNCTIONS / "hello"))
    config = {"events": EVENTS, "filter": {"key": {"prefix": "a", "suffix": ""}}}
    refusal = fails(client.create_trigger, "s", "f", "t", "oss", config, SOURCE, ROLE)
    assert (refusal["status"], refusal["code"]) == (404, "OSSNoSuchBucket")
    assert "The specified bucket does not exist" in refusal["ErrorMessage"]
    bucket = bucket_of(own_sesame)
    bucket.create_bucket()
    client.create_trigger("s", "f", "t", "oss", config, SOURCE, ROLE)
    config["filter"] = {"key": {"prefix": "ab", "suffix": ".jpg"}}
    refusal = fails(client.create_trigger, "s", "f", "u", "oss", config, SOURCE, ROLE)
    assert (refusal["status"], refusal["code"]) == (400, "OSSInvalidRequest")
    assert "Cannot specify overlapping prefix and suffix with same event type." in refusal["ErrorMessage"]
    # A bucket goes although a trigger names it, and the trigger is heard again once the bucket is back.
    bucket.delete_bucket()
    bucket.create_bucket()
    bucket.put_object("a", b"data")
    own_sesame.stop()
    assert events(own_sesame.data_dir / "sesame.db") == {(CREATED, "a"): 1}
