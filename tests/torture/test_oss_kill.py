"""Kills the OSS endpoint at random moments under concurrent uploads: what was acknowledged is there, nothing else is.

Five rounds in `make test`, ten by `make test-all`, 200 in `make torture`; SESAME_TORTURE_ROUNDS sets another number,
SESAME_TORTURE_SEED the random numbers. Never kills anything but the endpoint that it was told the pid of.
"""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import oss2
import psutil
import pytest
from oss2.models import PartInfo
from tests.oss.conftest import KEY_ID, SECRET

CLIENTS = 4
KEYS_EACH = 6
PART = 100 * 1024
LIFE_S_MAX = 0.6
SIZES = (0, 10, 70_000, 300_000, 1_500_000, 4_000_000)
REPOSITORY = Path(__file__).parents[2]

Content = bytes | None
"""What an object holds; None when there is none."""


class Ledger:
    """What one client knows of its own keys: the last state that was acknowledged, and what it asked for since."""

    def __init__(self, number: int, seed: int) -> None:
        self.random = random.Random(f"{seed}-{number}")
        self.number = number
        self.acknowledged: dict[str, Content] = {}
        self.asked: dict[str, list[Content]] = {}
        self.acknowledgements = 0

    def work(self, url: str, stop: threading.Event) -> None:
        """Until the endpoint is gone."""
        bucket = oss2.Bucket(oss2.Auth(KEY_ID, SECRET), url, "photos", connect_timeout=5)
        with contextlib.suppress(oss2.exceptions.RequestError, ConnectionError):
            while not stop.is_set():
                self._one(bucket)

    def _one(self, bucket: oss2.Bucket) -> None:
        choice = self.random.random()
        key = f"{self.number}/{self.random.randrange(KEYS_EACH)}"
        if choice < 0.15:
            with self._asking(key, None):
                bucket.delete_object(key)
        elif choice < 0.3:
            key = f"{self.number}/log"
            before = self.acknowledged.get(key) or b""
            piece = self._data(200_000)
            with self._asking(key, before + piece):
                bucket.append_object(key, len(before), piece)
        elif choice < 0.45:
            self._in_parts(bucket, key)
        else:
            data = self._data(self.random.choice(SIZES))
            with self._asking(key, data):
                bucket.put_object(key, data)

    def _in_parts(self, bucket: oss2.Bucket, key: str) -> None:
        pieces = [self._data(PART), self._data(PART + 1), self._data(7)]
        upload = bucket.init_multipart_upload(key).upload_id
        parts = [
            PartInfo(number, bucket.upload_part(key, upload, number, piece).etag)
            for number, piece in enumerate(pieces, 1)
        ]
        with self._asking(key, b"".join(pieces)):
            bucket.complete_multipart_upload(key, upload, parts)

    def _data(self, size: int) -> bytes:
        return self.random.randbytes(size)

    @contextlib.contextmanager
    def _asking(self, key: str, content: Content) -> Iterator[None]:
        self.asked.setdefault(key, []).append(content)
        yield
        self.acknowledged[key] = content
        self.asked[key] = []
        self.acknowledgements += 1

    def check(self, bucket: oss2.Bucket, listed: set[str]) -> None:
        """Each key holds what was acknowledged last or what was asked for since, wholly; and is listed accordingly."""
        for key in self.acknowledged.keys() | self.asked.keys():
            found = read(bucket, key)
            possible = [self.acknowledged.get(key), *self.asked.get(key, [])]
            assert found in possible, f"{key}: {describe(found)} is none of {[describe(p) for p in possible]}"
            assert (key in listed) == (found is not None), key
            self.acknowledged[key] = found
            self.asked[key] = []


def read(bucket: oss2.Bucket, key: str) -> Content:
    """oss2 compares the CRC that the endpoint says with that of what it read."""
    try:
        return bytes(bucket.get_object(key).read())
    except oss2.exceptions.NoSuchKey:
        return None


def describe(content: Content) -> str:
    return "absent" if content is None else f"{len(content)} bytes beginning {content[:6].hex()}"


class Endpoints:
    """The process that forks endpoints; `open` answers the pid and the address of a new one."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.oss_endpoint", str(root)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def open(self) -> tuple[int, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("open\n")
        self._process.stdin.flush()
        pid, _, url = self._process.stdout.readline().strip().partition(" ")
        assert url.startswith("http"), "the endpoint did not start: see what was written to standard error"
        return int(pid), url

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def kill(pid: int) -> None:
    """Also waits until it is gone and with it its lock on the database."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline, f"process {pid} does not die"
        time.sleep(0.005)


def strays(root: Path) -> set[str]:
    """Files that no row mentions, and rows whose file is missing."""
    with contextlib.closing(sqlite3.connect(f"file:{root / 'db'}?mode=ro", uri=True)) as database:
        query = "SELECT blob FROM objects WHERE blob != '' UNION ALL SELECT blob FROM object_parts"
        known = {row[0] for row in database.execute(query)}
    return {path.name for path in (root / "objects").rglob("*") if path.is_file()} ^ known


def rounds() -> list[object]:
    asked = os.environ.get("SESAME_TORTURE_ROUNDS")
    long = pytest.param(int(asked) if asked else 200, marks=pytest.mark.torture, id="long")
    return [pytest.param(5, id="short"), pytest.param(10, marks=pytest.mark.thorough, id="longer"), long]


@pytest.mark.parametrize("count", rounds())
def test_what_was_acknowledged_survives_kills_and_nothing_else_stays(tmp_path: Path, count: int) -> None:
    seed = int(os.environ.get("SESAME_TORTURE_SEED", time.time_ns()))
    print(f"SESAME_TORTURE_SEED={seed}")
    moments = random.Random(seed)
    ledgers = [Ledger(number, seed) for number in range(CLIENTS)]
    endpoints = Endpoints(tmp_path)
    pid, url = endpoints.open()
    try:
        bucket = oss2.Bucket(oss2.Auth(KEY_ID, SECRET), url, "photos")
        bucket.create_bucket()
        for _round in range(count):
            stop = threading.Event()
            clients = [threading.Thread(target=ledger.work, args=(url, stop)) for ledger in ledgers]
            for client in clients:
                client.start()
            time.sleep(moments.uniform(0, LIFE_S_MAX))
            kill(pid)
            stop.set()
            for client in clients:
                client.join(timeout=60)
                assert not client.is_alive()
            pid, url = endpoints.open()
            assert strays(tmp_path) == set()
            bucket = oss2.Bucket(oss2.Auth(KEY_ID, SECRET), url, "photos")
            listed = {found.key for found in oss2.ObjectIterator(bucket)}
            for ledger in ledgers:
                ledger.check(bucket, listed)
            assert listed <= {key for ledger in ledgers for key in ledger.acknowledged}
    finally:
        if psutil.pid_exists(pid):
            kill(pid)
        endpoints.close()
    assert sum(ledger.acknowledgements for ledger in ledgers) >= count
