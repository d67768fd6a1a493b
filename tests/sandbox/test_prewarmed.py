"""Sandboxes made ahead of use: what a failure leaves behind."""

import errno
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sesame.sandbox.jail.host_resources import HostResourcePool, HostResources
from sesame.sandbox.jail.policy import JailPolicy
from sesame.sandbox.jail.prewarmed import PrewarmedPool
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
