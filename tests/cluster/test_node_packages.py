"""Code packages on a node without the writer: fetched by digest, checked, unpacked once, kept while they are leased."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.fakes import FakeClocks
from tests.support.zips import zip_of

from sesame.agents import messages as m
from sesame.agents.packages import LeasedPackages
from sesame.cluster.node_packages import FetchedOnly, NodePackages
from sesame.model.errors import PlatformError, StoreUnavailable
from sesame.store.packages.packages import COLLECT_GRACE_S, Packages

CODE = zip_of({"index.py": "def my_handler(event, context):\n    return event\n"})


class Bucket:
    """Archives in a bucket, as `store.packages.Archives`; what is damaged and whether it answers is the test's."""

    def __init__(self, archives: dict[str, bytes]) -> None:
        self.archives = archives
        self.asked: list[str] = []
        self.away = False

    async def has(self, sha256: str, size: int) -> bool:
        return len(self.archives.get(sha256, b"")) == size

    async def put(self, sha256: str, archive: bytes) -> None:
        raise AssertionError("a node without the writer puts nothing into the bucket")

    async def get(self, sha256: str) -> bytes:
        self.asked.append(sha256)
        if self.away:
            raise StoreUnavailable("the bucket does not answer")
        if sha256 not in self.archives:
            raise FileNotFoundError(sha256)
        return self.archives[sha256]

    async def delete(self, sha256: str) -> None:
        raise AssertionError("a node without the writer removes nothing from the bucket")


class Writer:
    """Grants leases, and knows which it has granted."""

    def __init__(self) -> None:
        self.leased: dict[int, Sequence[str]] = {}
        self._number = 0

    async def ask(self, question: object) -> m.Message:
        assert callable(question)
        self._number += 1
        asked = question(self._number)
        assert isinstance(asked, m.LeasePackages)
        self.leased[asked.n] = asked.sha256s
        return m.Leased(asked.n, tuple(f"/writers/{each}" for each in asked.sha256s), ())

    def send(self, message: m.Message) -> None:
        assert isinstance(message, m.Release)
        del self.leased[message.n]


class Node:
    def __init__(self, folder: Path, *, writer_is_here: bool = False) -> None:
        self.clocks = FakeClocks()
        self.writer = Writer()
        self.to_compile: list[tuple[str, str]] = []
        self.bucket = Bucket({})
        self.own = Packages(
            folder / "packages",
            lambda sha256, runtime: self.to_compile.append((sha256, runtime)),
            clock=self.clocks.monotonic,
            archives=FetchedOnly(self.bucket),
        )
        leased = LeasedPackages(self.writer.ask, self.writer.send)
        self.packages = NodePackages(leased, self.own, lambda: writer_is_here, self.clocks)

    def has(self, sha256: str) -> bool:
        return self.own.folder.is_whole(sha256)


async def node_with(folder: Path, archive: bytes = CODE, *, writer_is_here: bool = False) -> tuple[Node, str]:
    """A node, and the digest of the package that the bucket has."""
    elsewhere = Packages(folder / "elsewhere")
    await elsewhere.open()
    sha256 = (await elsewhere.add(CODE, "python3")).sha256
    node = Node(folder, writer_is_here=writer_is_here)
    await node.own.open()
    node.bucket.archives[sha256] = archive
    return node, sha256


async def test_a_package_is_fetched_and_unpacked_once_however_many_instances_start(tmp_path: Path) -> None:
    node, sha256 = await node_with(tmp_path)
    leases = await asyncio.gather(*(node.packages.lease([sha256], "python3") for _ in range(8)))
    assert node.bucket.asked == [sha256]
    (folder,) = {lease.code_dirs[0] for lease in leases}
    assert folder.is_relative_to(tmp_path / "packages")
    assert (folder / "index.py").read_text().startswith("def my_handler")
    assert set(node.to_compile) == {(sha256, "python3")}
    assert list(node.writer.leased.values()) == [(sha256,)] * 8
    for lease in leases:
        lease.release()
    assert not node.writer.leased
    (await node.packages.lease([sha256], "python3")).release()
    assert node.bucket.asked == [sha256]


async def test_what_the_writer_has_unpacked_is_used_on_its_own_node(tmp_path: Path) -> None:
    node, sha256 = await node_with(tmp_path, writer_is_here=True)
    lease = await node.packages.lease([sha256], "python3")
    assert lease.code_dirs == (Path(f"/writers/{sha256}"),)
    assert not node.bucket.asked
    lease.release()
    assert not node.writer.leased


@pytest.mark.parametrize("damaged", [b"", CODE[:-1], CODE + b"\0", zip_of({"index.py": "stolen = True\n"})], ids=len)
async def test_damaged_bytes_are_refused_and_leave_nothing(tmp_path: Path, damaged: bytes) -> None:
    node, sha256 = await node_with(tmp_path, damaged)
    with pytest.raises(PlatformError, match="damaged there"):
        await node.packages.lease([sha256], "python3")
    assert not node.has(sha256)
    assert not node.writer.leased
    node.bucket.archives[sha256] = CODE
    (await node.packages.lease([sha256], "python3")).release()
    assert node.has(sha256)


async def test_a_bucket_that_lacks_it_or_does_not_answer_fails_the_start_alone(tmp_path: Path) -> None:
    node, sha256 = await node_with(tmp_path)
    node.bucket.away = True
    with pytest.raises(StoreUnavailable):
        await node.packages.lease([sha256], "python3")
    node.bucket.away = False
    archive = node.bucket.archives.pop(sha256)
    with pytest.raises(PlatformError, match="deploy"):
        await node.packages.lease([sha256], "python3")
    assert not node.writer.leased
    node.bucket.archives[sha256] = archive
    (await node.packages.lease([sha256], "python3")).release()


async def test_a_package_is_removed_when_nothing_has_named_it_for_a_while_and_no_instance_has_it(
    tmp_path: Path,
) -> None:
    node, sha256 = await node_with(tmp_path)
    lease = await node.packages.lease([sha256], "python3")

    async def collected(named: set[str], *, after_s: float = 0.0) -> bool:
        await node.clocks.pass_time(after_s)
        await node.packages.collect(named)
        return not node.has(sha256)

    assert not await collected({sha256}, after_s=10 * COLLECT_GRACE_S)
    assert not await collected(set())
    # Named again meanwhile.
    assert not await collected({sha256}, after_s=COLLECT_GRACE_S)
    assert not await collected(set())
    assert not await collected(set(), after_s=COLLECT_GRACE_S)
    lease.release()
    assert await collected(set())
    # The bucket has it still.
    (await node.packages.lease([sha256], "python3")).release()
