"""Package hashes become directories below the engine, and stay leased as long as anything of the instance is left."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.fakes import FakeDriver

from sesame.model.errors import PlatformError, StoreUnavailable, Unavailable
from sesame.sandbox.interface import InstanceSpec, KillReason, SandboxStartFailed, StartFailure
from sesame.sandbox.launch import PackagedLauncher
from sesame.sandbox.volumes import NasVolumes

SPEC = InstanceSpec(
    instance_id="c-1",
    runtime="python3.10",
    code="code",
    layers=("first", "second"),
    environment={},
    memory_mb=128,
    disk_mb=512,
    setup={"function": {"name": "f"}},
)


class Lease:
    def __init__(self, sha256s: Sequence[str]) -> None:
        self.code_dirs = tuple(Path("/packages") / sha256 for sha256 in sha256s)
        self.compiled = (Path("/compiled/code"),)
        self.released = 0

    def release(self) -> None:
        self.released += 1


class Packages:
    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.missing = False
        self.unreachable: Exception | None = None

    async def lease(self, sha256s: Sequence[str], runtime: str) -> Lease:
        assert runtime == SPEC.runtime
        if self.unreachable is not None:
            raise self.unreachable
        if self.missing:
            raise PlatformError("code package first is not on this machine: deploy the function again")
        self.leases.append(Lease(sha256s))
        return self.leases[-1]


def launcher() -> tuple[PackagedLauncher, Packages, FakeDriver]:
    packages, driver = Packages(), FakeDriver()
    volumes = NasVolumes(Path("/nowhere"), {})
    return PackagedLauncher(driver, packages, volumes), packages, driver  # type: ignore[arg-type]


async def create(made: PackagedLauncher) -> Any:
    return await made.create(SPEC, lambda _data: None, lambda: None)


async def test_the_driver_gets_directories_and_the_lease_ends_with_the_instance() -> None:
    made, packages, _driver = launcher()
    sandbox = await create(made)
    assert sandbox.spec.code_dir == Path("/packages/code")
    assert sandbox.spec.layer_dirs == (Path("/packages/first"), Path("/packages/second"))
    assert sandbox.spec.compiled == (Path("/compiled/code"),)
    assert packages.leases[0].released == 0
    await sandbox.kill(KillReason.EXPIRED)
    assert packages.leases[0].released == 1


async def test_local_code_without_a_hash_is_shown_too() -> None:
    made, _packages, _driver = launcher()
    local = msgspec.structs.replace(SPEC, code="")
    sandbox: Any = await made.create(local, lambda _data: None, lambda: None)
    assert sandbox.spec.code_dir == Path("/packages")
    assert sandbox.spec.layer_dirs == (Path("/packages/first"), Path("/packages/second"))


async def test_the_lease_ends_with_a_process_that_dies_by_itself() -> None:
    made, packages, _driver = launcher()
    (await create(made)).die()
    assert packages.leases[0].released == 1


async def test_a_start_that_fails_releases_its_packages() -> None:
    made, packages, driver = launcher()
    driver.refuse = 1
    with pytest.raises(SandboxStartFailed):
        await create(made)
    assert packages.leases[0].released == 1


@pytest.mark.parametrize("error", [StoreUnavailable("no answer"), Unavailable("the writer does not come back")])
async def test_a_package_that_cannot_be_reached_now_is_not_taken_for_lost(error: Exception) -> None:
    made, packages, _driver = launcher()
    packages.unreachable = error
    with pytest.raises(type(error)):
        await create(made)


async def test_a_start_without_its_package_is_not_retried() -> None:
    made, packages, driver = launcher()
    packages.missing = True
    with pytest.raises(SandboxStartFailed, match="deploy the function again") as failed:
        await create(made)
    assert failed.value.kind is StartFailure.LOST
    assert driver.attempts == 0
