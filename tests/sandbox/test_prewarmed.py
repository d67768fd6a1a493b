"""Sandboxes made ahead of use: what a failure leaves behind."""

import asyncio
import errno
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sesame.sandbox.jail import prewarmed
from sesame.sandbox.jail.host_resources import DEFAULT_DISK_MB, HostResourcePool, HostResources
from sesame.sandbox.jail.policy import JailPolicy
from sesame.sandbox.jail.prewarmed import PrewarmedPool, PrewarmedSandbox
from sesame.sandbox.jail.zygote_client import ZygoteClient
from sesame.sandbox.network import HostAnswers


class Resources:
    """In place of a `HostResourcePool`."""

    def __init__(self) -> None:
        self.taken: list[HostResources] = []
        self.removed: list[HostResources] = []

    async def take(self, _disk_mb: int) -> HostResources:
        self.taken.append(HostResources(10_000, None, -1))
        return self.taken[-1]

    def remove(self, resources: HostResources) -> None:
        self.removed.append(resources)


class Zygote:
    """In place of a `ZygoteClient`, which is never asked to fork."""

    launch = SimpleNamespace(own_network=True)

    async def ready(self) -> int:
        return 0


@pytest.mark.parametrize("network", ["host", "none"])
async def test_without_descriptors_an_instance_gives_back_what_it_took(
    network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = Resources()
    pool = PrewarmedPool(cast(HostResourcePool, resources), JailPolicy(network=network), HostAnswers.none())

    def exhausted(*_arguments: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", exhausted)
    with pytest.raises(OSError, match="Too many open files"):
        await pool.take(cast(ZygoteClient, Zygote()), 1024)
    assert len(resources.taken) == 1
    assert resources.removed == resources.taken


class Making(PrewarmedPool):
    """Makes nothing, and counts how often it would."""

    def __init__(self) -> None:
        super().__init__(cast(HostResourcePool, Resources()), JailPolicy(), HostAnswers.none(), ready=2)
        self.made = 0

    async def _make(self, _zygote: ZygoteClient, _disk_mb: int) -> PrewarmedSandbox:
        self.made += 1
        jailed = SimpleNamespace(gone=asyncio.Event())
        return cast(PrewarmedSandbox, SimpleNamespace(jailed=jailed, discard=lambda _pool: asyncio.sleep(0)))


async def test_what_is_made_ahead_waits_for_starts_that_are_under_way_while_one_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prewarmed, "POSTPONED_MAX_S", 3600.0)
    monkeypatch.setattr(prewarmed, "LOOK_EVERY_S", 0.001)
    zygote, pool = cast(ZygoteClient, Zygote()), Making()
    pool.refill_later(zygote)
    await pool.settled()
    assert pool.made == 2
    under_way, ends = asyncio.Event(), asyncio.Event()

    async def start(zygote: ZygoteClient, pool: PrewarmedPool, _output: Any) -> None:
        await pool.take(zygote, DEFAULT_DISK_MB)
        under_way.set()
        await ends.wait()

    starting = asyncio.create_task(pool.undisturbed(zygote, start, cast(Any, None)))
    await under_way.wait()
    await asyncio.sleep(5 * prewarmed.REFILL_DELAY_S)
    assert pool.made == 2
    # The last one that is ready is taken: the next start must not find none.
    await pool.take(zygote, DEFAULT_DISK_MB)
    async with asyncio.timeout(60):
        while pool.made == 2:  # noqa: ASYNC110 (what is made is counted)
            await asyncio.sleep(0.001)
    ends.set()
    await starting
    await pool.settled()
    assert pool.made == 4
    await pool.close()
