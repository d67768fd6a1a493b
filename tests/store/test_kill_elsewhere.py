"""What was acknowledged is in the bucket after kill -9 at any moment, and what was not is deleted by the outbox.

The child process calls `main` of this file. The moment of death is a number of acknowledgements, and some more output.
"""

import asyncio
import itertools
import random
import sys
from pathlib import Path

import pytest
from tests.support import forked
from tests.support.data_directory import Stores

from sesame.model import records
from sesame.model.bucket import Bucket
from sesame.model.object import StoredObject
from sesame.store.blobs.bucket import Bucket as S3Bucket
from sesame.store.blobs.location import parse_location
from sesame.store.blobs.segments import DATA, SEGMENT_BYTES
from sesame.store.objects import objects as objects_module

ROUNDS = [2, pytest.param(4, marks=pytest.mark.thorough)]
WRITERS = 3


def content(name: str, number: int) -> bytes:
    """Of a few bytes, or of more than one segment."""
    size = 20 if number % 4 else SEGMENT_BYTES + 100
    return (f"{name} {number} ".encode() * (size // 5 + 1))[:size]


async def write_forever(root: Path, url: str, first: int) -> None:
    """Each writer overwrites one object, appends to another, and deletes and cancels now and then."""
    stores = Stores(root, None, url)
    await stores.open()

    async def write(name: str) -> None:
        log = f"{name}-log"
        for number in itertools.count(first):
            await stores.put(name, content(name, number))
            sys.stdout.write(f"put {name} {number}\n")
            head = await stores.objects.head("photos", log)
            line = f"{number}\n".encode()
            await stores.append(log, line, head.size if head is not None else 0)
            sys.stdout.write(f"append {log} {number}\n")
            sys.stdout.flush()
            if number % 3 == 0:
                await stores.written(b"cancelled before its row")

    await asyncio.gather(*(write(f"w{n}") for n in range(WRITERS)))


def main(root: str, url: str, first: str) -> None:
    asyncio.run(write_forever(Path(root), url, int(first)))


def run_and_kill(root: Path, url: str, first: int, after: int) -> list[list[str]]:
    """What the child said before it was killed, some time after its `after`th acknowledgement."""
    target = "tests.store.test_kill_elsewhere:main"
    said = forked.call_and_kill(target, str(root), url, str(first), after=after, counts=acknowledges)
    return [line.decode().split() for line in said]


def acknowledges(line: bytes) -> bool:
    return line.startswith((b"put ", b"append "))


@pytest.mark.parametrize("rounds", ROUNDS)
async def test_nothing_acknowledged_is_lost_and_nothing_else_stays(
    tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    stores = Stores(tmp_path, None, s3_url)
    await stores.open()
    bucket = Bucket(bucket_name="photos", account_id="42")
    await stores.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "photos", bucket))
    await stores.close()
    chance = random.Random(17)
    newest: dict[str, int] = {}
    for turn in range(rounds):
        first, after = turn * 1000, chance.randrange(5, 40)
        for _what, name, number in await asyncio.to_thread(run_and_kill, tmp_path, s3_url, first, after):
            newest[name] = int(number)
        await check(Stores(tmp_path, None, s3_url), newest, first)
    assert len(newest) == 2 * WRITERS
    last = Stores(tmp_path, None, s3_url)
    await last.open()
    monkeypatch.setattr(objects_module, "DRAFT_AGE_S", -1.0)
    await last.objects.collect()
    await last.objects.removals.settled()
    names = {found.path.split("/")[1] for found in await S3Bucket(parse_location(s3_url)).listing(DATA)}
    assert names == {(await head(last, name)).blob for name in newest}
    await last.close()


async def head(stores: Stores, name: str) -> StoredObject:
    found = await stores.objects.head("photos", name)
    assert found is not None
    return found


async def check(stores: Stores, newest: dict[str, int], first: int) -> None:
    """A writer may have been killed between a change and its word of it, also with the first of this round."""
    await stores.open()
    for name, acknowledged in newest.items():
        data = await stores.read(name)
        possible = {acknowledged, acknowledged + 1, first}
        if name.endswith("-log"):
            assert int(data.split(b"\n")[-2]) in possible
        else:
            assert data in [content(name, number) for number in possible]
    await stores.close()
