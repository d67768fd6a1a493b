"""Every attack fails in a jail, and succeeds in one whose walls against it were taken away: the wall stops it."""

import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.runtime.conftest import FUNCTIONS, Stage
from tests.security.probes import PROBES, Probe
from tests.support.jails import INTERPRETERS, jail, jail_only, root_only

from sesame.sandbox.interface import SandboxDied

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]

SECRET = "a-secret-of-somebody-else"
CREDENTIALS = {"access_key_id": "STS.victim", "access_key_secret": "the-key-of-its-role", "security_token": "token"}
SERIAL = iter(range(1, 100_000))


class Scene:
    """What there is to attack on the host, and the code of the attacker, for one test."""

    def __init__(self, folder: Path, runtime: str) -> None:
        self.folder = folder
        self.file = folder / "of-the-host"
        self.file.write_text(SECRET)
        self.code = folder / "code"
        shutil.copytree(FUNCTIONS / "attacks", self.code)
        (self.code / "link").symlink_to(self.file)
        (self.code / "link_to_host").symlink_to(f"/.host{self.file}")
        # As generous as files can be: what stops a change is the mount.
        self.code.chmod(0o777)
        (self.code / "index.py").chmod(0o666)
        self.layer = folder / "layer"
        self.layer.mkdir()
        self.layer.chmod(0o777)
        self._copy_with_setuid(INTERPRETERS[runtime].path)
        self.path_socket = socket.socket(socket.AF_UNIX)
        self.path_socket.bind(str(folder / "socket"))
        self.path_socket.listen()
        self.abstract = f"sesame-test-{os.getpid()}-{next(SERIAL)}"
        self.abstract_socket = socket.socket(socket.AF_UNIX)
        self.abstract_socket.bind("\0" + self.abstract)
        self.abstract_socket.listen()

    def close(self) -> None:
        self.path_socket.close()
        self.abstract_socket.close()

    def _copy_with_setuid(self, interpreter: Path) -> None:
        """A program that becomes root when it is run, if it is let."""
        copy = self.code / "setuid"
        shutil.copy(interpreter, copy)
        copy.chmod(0o4755)


@pytest_asyncio.fixture(loop_scope="module")
async def scene(tmp_path: Path, runtime: str) -> AsyncIterator[Scene]:
    made = Scene(tmp_path, runtime)
    yield made
    made.close()


async def attacked(probe: Probe, runtime: str, scene: Scene, without: frozenset[str]) -> Any:
    """What the attacker answers; or why it did not live to answer."""
    options = {"without": without, **probe.options}
    async with jail(scene.folder / "state", **options) as driver:
        stage = Stage(driver, runtime)
        victim = await stage.start("victim", instance_id="c-victim-of-all")
        held = await victim.json(SECRET.encode(), credentials=CREDENTIALS)
        attacker = await stage.start(scene.code, f"index.{probe.attack}", layer_dirs=(scene.layer,), **probe.spec)
        told = {
            "secret": SECRET, "key": CREDENTIALS["access_key_secret"],
            "instance": "c-victim-of-all", "address": held["address"], "size": held["size"],
            "victim_uid": held["uid"],
            "host": os.uname().nodename, "path": str(scene.file), "content": SECRET, "name": scene.abstract,
            "most": victim.sandbox.init_pid + 2, **probe.event,
        }  # fmt: skip
        if probe.attack == "host_socket":
            told["path"] = str(scene.folder / "socket")
        try:
            reply = await attacker.invoke(json.dumps(told).encode())
        except SandboxDied as died:
            return died.reason
        finally:
            assert (await victim_lives(victim)) == b"alive", "the victim died of it"
        assert reply.ok, reply.payload.decode()
        return json.loads(reply.payload)


async def victim_lives(victim: Any) -> bytes:
    return b"alive" if not victim.deaths and (await victim.invoke(b"again")).ok else b"dead"


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.attack)
async def test_the_attack_fails(probe: Probe, runtime: str, scene: Scene) -> None:
    require(probe)
    assert await attacked(probe, runtime, scene, frozenset()) is not True


@root_only
@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.attack)
async def test_the_attack_succeeds_without_the_wall(probe: Probe, runtime: str, scene: Scene) -> None:
    require(probe)
    assert await attacked(probe, runtime, scene, probe.walls) is True


def require(probe: Probe) -> None:
    has = Path(probe.needs).exists if probe.needs.startswith("/") else KERNEL_HAS.get(probe.needs)
    if has is not None and not has():
        pytest.skip(f"this kernel has no {probe.needs}")


def has_scopes() -> bool:
    import ctypes

    return ctypes.CDLL(None).syscall(444, None, 0, 1) >= 6


def has_af_alg() -> bool:
    try:
        socket.socket(38, socket.SOCK_SEQPACKET, 0).close()
    except OSError:
        return False
    return True


def has_io_uring() -> bool:
    try:
        return Path("/proc/sys/kernel/io_uring_disabled").read_text().strip() == "0"
    except OSError:
        return False


KERNEL_HAS = {"scope": has_scopes, "af_alg": has_af_alg, "io_uring": has_io_uring}


async def test_there_are_enough() -> None:
    assert len(PROBES) >= 30
    assert len({probe.attack for probe in PROBES}) == len(PROBES)
