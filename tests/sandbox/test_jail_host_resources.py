"""Used host resources are removed in the background, bounded and completely; what a cancelled start made is too."""

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.runtime.conftest import Stage
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail, jail_only

from sesame.sandbox.interface import KillReason
from sesame.sandbox.jail import host_resources as host_resources
from sesame.sandbox.jail.disks import Disks
from sesame.sandbox.jail.host_resources import DEFAULT_DISK_MB, HostResourcePool, HostResources
from sesame.sandbox.jail.plan import FIRST_UID, NAMED_UIDS
from sesame.sandbox.jail.zygote_client import JailedProcess

RUNTIME = "python3.12" if "python3.12" in INTERPRETERS else next(iter(INTERPRETERS), "")


class Gate:
    """Holds every removal back until it is opened."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        self._take_apart = host_resources.take_apart
        patch.setattr(host_resources, "take_apart", self._pass)

    def open(self) -> None:
        self._open.set()

    def _pass(self, resources: HostResources) -> None:
        assert self._open.wait(30)
        self._take_apart(resources)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    made.open()


@jail_only
@pytest.mark.asyncio
async def test_an_end_does_not_wait_for_the_removal(tmp_path: Path, gate: Gate) -> None:
    async with jail(tmp_path) as driver:
        actor: Any = await Stage(driver, RUNTIME).start("hello")
        namespace = os.readlink(f"/proc/{actor.sandbox.init_pid}/ns/mnt")
        resources = actor.sandbox.resources
        async with asyncio.timeout(30):
            await actor.sandbox.kill(KillReason.FAILED)
        if resources.mounts_fd >= 0:
            assert os.readlink(f"/proc/self/fd/{resources.mounts_fd}") == namespace
        gate.open()


@pytest.mark.asyncio
async def test_taking_waits_while_too_many_used_resources_wait_for_removal(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_resources, "REMOVALS_WAITING_MAX", 1)
    resource_pool = HostResourcePool(None, None, ready=0)
    await resource_pool.open()
    used = [await resource_pool.take(host_resources.DEFAULT_DISK_MB) for _ in range(2)]
    for resources in used:
        resource_pool.remove(resources)
    waiting = asyncio.ensure_future(resource_pool.take(host_resources.DEFAULT_DISK_MB))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    gate.open()
    assert (await asyncio.wait_for(waiting, 30)).uid not in {resources.uid for resources in used}
    await resource_pool.close()
    assert resource_pool.removals == 0


@pytest.mark.asyncio
async def test_no_two_agents_of_one_machine_use_the_same_user_id() -> None:
    """Neither of those that have names nor, as here, of those that are used when the named ones are all taken."""
    taken: list[int] = []
    for number in (1, 2, 3):
        pool = HostResourcePool(None, None, (number, 3), ready=0)
        await pool.open()
        taken += [(await pool.take(DEFAULT_DISK_MB)).uid for _ in range(NAMED_UIDS // 3 + 3)]
        await pool.close()
    assert len(set(taken)) == len(taken)
    assert {uid for uid in taken if uid < FIRST_UID + NAMED_UIDS} >= set(range(FIRST_UID + 3, FIRST_UID + NAMED_UIDS))


@pytest.mark.asyncio
async def test_a_sesame_of_one_agent_uses_every_user_id_that_has_a_name() -> None:
    pool = HostResourcePool(None, None, ready=0)
    await pool.open()
    taken = {(await pool.take(DEFAULT_DISK_MB)).uid for _ in range(NAMED_UIDS + 1)}
    await pool.close()
    # One is in the resources that `open` made.
    assert len(taken) == NAMED_UIDS + 1
    assert taken <= set(range(FIRST_UID, FIRST_UID + NAMED_UIDS + 1))


class SlowDisks:
    """Each disk but the first is made only once `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = threading.Event()
        self.made: list[int] = []

    def open(self, disk_mb: int) -> None:
        return

    def take(self, disk_mb: int) -> int:
        if self.made:
            self.asked.set()
            assert self.go.wait(30)
        self.made.append(os.open("/", os.O_PATH))
        return self.made[-1]

    def close(self) -> None:
        return


@pytest.mark.asyncio
async def test_what_is_made_for_a_taker_that_was_cancelled_is_removed() -> None:
    disks: Any = SlowDisks()
    resource_pool = HostResourcePool(None, disks, ready=0)
    await resource_pool.open()
    await resource_pool.take(host_resources.DEFAULT_DISK_MB)
    taking = asyncio.ensure_future(resource_pool.take(host_resources.DEFAULT_DISK_MB))
    await asyncio.to_thread(disks.asked.wait, 30)
    taking.cancel()
    disks.go.set()
    await asyncio.wait({taking})
    assert taking.cancelled()
    await resource_pool.close()
    first, second = disks.made
    os.close(first)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(second)


class Stubborn:
    """A group that cannot be ended."""

    def joined(self) -> None:
        return

    def kill(self) -> None:
        raise TimeoutError("a process does not end")


def test_the_mounts_are_freed_although_the_group_stays() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    group: Any = Stubborn()
    with pytest.raises(TimeoutError):
        host_resources.take_apart(HostResources(10_000, group, -1, reading))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)


def test_the_mounts_of_a_process_that_reused_the_pid_are_not_held() -> None:
    resources = HostResources(10_000, None, -1)
    resources.hold_mounts_of(JailedProcess(os.getpid(), -1))
    assert resources.mounts_fd == -1


class FullDisk:
    """In place of `Disks`: has room for one image."""

    def __init__(self) -> None:
        self.taken = 0
        self.closed = False

    def open(self, _disk_mb: int) -> None:
        """Nothing to prepare."""

    def take(self, _disk_mb: int) -> int:
        self.taken += 1
        if self.taken > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.open(os.devnull, os.O_RDONLY)

    def close(self) -> None:
        self.closed = True


@pytest.mark.asyncio
async def test_a_full_disk_is_told_to_who_starts_and_holds_up_no_end() -> None:
    disks = FullDisk()
    pool = HostResourcePool(None, cast(Disks, disks), ready=2)
    await pool.open()
    await pool.settled()
    pool.remove(await pool.take(DEFAULT_DISK_MB))
    with pytest.raises(OSError, match="No space left"):
        await pool.take(DEFAULT_DISK_MB)
    await pool.close()
    assert disks.closed
