"""Every attack fails in a jail, and succeeds in one whose walls against it were taken away: the wall stops it."""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
from tests.runtime.conftest import FUNCTIONS, Actor, Stage
from tests.security.conftest import NEWEST
from tests.security.probes import PROBES, Probe, one_of_each_set
from tests.support import interpreters
from tests.support.interpreters import BETWEEN, INTERPRETERS, OLDEST
from tests.support.jails import jail, jail_only, root_only

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
        # One port of both loopbacks, which two sockets could not be sure to get.
        self.service = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self.service.getsockname()[1]

    def close(self) -> None:
        self.path_socket.close()
        self.abstract_socket.close()
        self.service.close()

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


class Attackers(Protocol):
    """A stage of any runtime."""

    async def start(self, case: str | Path, handler: str, **more: Any) -> Actor: ...

    async def clear(self) -> None: ...


@dataclass(frozen=True)
class Host:
    """A driver with one instance to be attacked."""

    stage: Attackers
    victim: Actor


async def host_of(driver: Any, runtime: str) -> Host:
    stage = Stage(driver, runtime)
    victim = await stage.start("victim", instance_id="c-victim-of-all")
    # The stage ends the attackers alone.
    stage.forget()
    return Host(stage, victim)


WithWalls = Callable[[str, Mapping[str, Any]], Awaitable[Host]]
WithoutWalls = Callable[[str, Probe], Awaitable[Host]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def with_walls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WithWalls]:
    """One host for each runtime and set of options, with one victim that has to survive every attack on it."""
    hosts: dict[str, Host] = {}
    async with AsyncExitStack() as drivers:

        async def made(runtime: str, options: Mapping[str, Any]) -> Host:
            key = f"{runtime} {sorted(options.items())}"
            if key not in hosts:
                driver = await drivers.enter_async_context(jail(tmp_path_factory.mktemp("jail"), **options))
                hosts[key] = await host_of(driver, runtime)
            return hosts[key]

        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def without_walls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WithoutWalls]:
    """A host without the walls that an attack needs gone. Attacks that follow each other on it need the same ones gone.

    The attack before may have left anything behind that lasts as long as the host, but nothing that lasts longer.
    """
    current = AsyncExitStack()
    known: tuple[str, Host] | None = None

    async def made(runtime: str, probe: Probe) -> Host:
        nonlocal known
        key = f"{runtime} {_without(probe)}"
        if known is None or known[0] != key:
            await current.aclose()
            options = {"without": probe.walls, **probe.options}
            driver = await current.enter_async_context(jail(tmp_path_factory.mktemp("jail"), **options))
            known = key, await host_of(driver, runtime)
        return known[1]

    yield made
    await current.aclose()


def _without(probe: Probe) -> str:
    return f"{sorted(probe.walls)} {sorted(probe.options.items())}"


def without_walls_in_turn() -> Iterator[Any]:
    """Those that need the same walls gone follow each other; one of each set in `make test`, all by `make test-all`."""
    chosen = one_of_each_set(PROBES)
    for probe in sorted(PROBES, key=_without):
        marks = () if probe in chosen else pytest.mark.thorough
        yield pytest.param(probe, marks=marks, id=probe.attack)


async def attack(host: Host, probe: Probe, scene: Scene) -> Any:
    """What the attacker answers; or why it did not live to answer. It has ended when this returns."""
    # Each attack finds the secrets in every place anew, and where they are.
    held = await host.victim.json(SECRET.encode(), credentials=CREDENTIALS)
    attacker = await host.stage.start(scene.code, f"index.{probe.attack}", layer_dirs=(scene.layer,), **probe.spec)
    told = {
        "secret": SECRET, "key": CREDENTIALS["access_key_secret"],
        "instance": "c-victim-of-all", "address": held["address"], "size": held["size"],
        "victim_uid": held["uid"],
        "host": os.uname().nodename, "path": str(scene.file), "content": SECRET, "name": scene.abstract,
        "tcp": scene.port, "most": host.victim.sandbox.init_pid + 2, **probe.event,
    }  # fmt: skip
    if probe.attack == "host_socket":
        told["path"] = str(scene.folder / "socket")
    try:
        reply = await attacker.invoke(json.dumps(told).encode())
    except SandboxDied as died:
        return died.reason
    finally:
        assert (await victim_lives(host.victim)) == b"alive", "the victim died of it"
        await host.stage.clear()
    assert reply.ok, reply.payload.decode()
    return json.loads(reply.payload)


async def victim_lives(victim: Actor) -> bytes:
    return b"alive" if not victim.deaths and (await victim.invoke(b"again")).ok else b"dead"


def attacks() -> Iterator[Any]:
    """With their runtimes: the newest has all of them in every run, the oldest one for each set of walls; the rest, and
    those between, are tried by `make torture`: what holds is the kernel, whatever attacks it.
    """
    from_the_oldest = one_of_each_set(PROBES)
    for runtime in (OLDEST, BETWEEN[0], interpreters.NEWEST):
        for probe in PROBES:
            every_run = runtime == interpreters.NEWEST or (runtime == OLDEST and probe in from_the_oldest)
            marks = () if every_run else pytest.mark.torture
            yield pytest.param(runtime, probe, marks=marks, id=f"{runtime}-{probe.attack}")


@pytest.mark.parametrize(("runtime", "probe"), list(attacks()), indirect=["runtime"])
async def test_the_attack_fails(probe: Probe, runtime: str, scene: Scene, with_walls: WithWalls) -> None:
    require(probe)
    host = await with_walls(runtime, probe.options)
    assert await attack(host, probe, scene) is not True


@root_only
@pytest.mark.parametrize("runtime", NEWEST, indirect=True)
@pytest.mark.parametrize("probe", list(without_walls_in_turn()))
async def test_the_attack_succeeds_without_the_wall(
    probe: Probe, runtime: str, scene: Scene, without_walls: WithoutWalls
) -> None:
    require(probe)
    assert await attack(await without_walls(runtime, probe), probe, scene) is True


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


def is_x86() -> bool:
    return platform.machine() == "x86_64"


def runs_32_bits() -> bool:
    """Whether this kernel has the entry for programs of 32 bits: the attack succeeds outside of a jail."""
    if not is_x86():
        return False
    code = "import index; assert index.enters_by_32_bits(None, None) == 'true'"
    attack = [sys.executable, "-B", "-c", code]
    return subprocess.run(attack, cwd=FUNCTIONS / "attacks", capture_output=True, check=False).returncode == 0


KERNEL_HAS = {
    "scope": has_scopes, "af_alg": has_af_alg, "io_uring": has_io_uring, "x86": is_x86, "ia32": runs_32_bits,
}  # fmt: skip


async def test_there_are_enough() -> None:
    assert len(PROBES) >= 60
    assert len({(probe.attack, str(probe.event)) for probe in PROBES}) == len(PROBES)
