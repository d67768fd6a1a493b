"""What each isolation level holds, and what it says that it does not: an attack that it lets succeed is shown too."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from tests.runtime.conftest import Stage
from tests.security.grades import GRADES
from tests.security.test_user_limits import HOARDS, MEMORY_MB, SECONDS, hoard
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail, jail_only, root_only

from sesame.sandbox.interface import SandboxDied
from sesame.sandbox.jail.driver import JailDriver

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]

PATIENCE_S = 60
RUNTIME = "python3.12"
NOT_HELD = {
    "root": {"own network"},
    "user": {"own network", "own user", "the disk's reserve", "buffers of sockets", "processor"},
}
# Connections with buffers as large as they may be; fewer descriptors than count as memory.
CONNECTIONS = {"pairs": 60}


@pytest.fixture(scope="module")
def runtime() -> str:
    if RUNTIME not in INTERPRETERS:
        pytest.skip(f"no interpreter found for {RUNTIME}")
    return RUNTIME


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unbounded(tmp_path_factory: pytest.TempPathFactory, runtime: str) -> AsyncIterator[Stage]:
    """Root's jail without what counts memory."""
    async with jail(tmp_path_factory.mktemp("unbounded"), without=frozenset({"memory"})) as made:
        yield Stage(made, runtime)


async def test_it_says_what_it_does_not_hold(driver: JailDriver, grade: str) -> None:
    """On the host's network, which is asked for here."""
    said = {each.what for each in driver.enforcement() if not each.enforced}
    assert said <= NOT_HELD[grade]
    assert grade == "root" or said == NOT_HELD["user"]


@root_only
@pytest.mark.parametrize("attack", HOARDS)
async def test_what_no_process_seems_to_hold_is_counted_by_the_kernel(
    tmp_path_factory: pytest.TempPathFactory, runtime: str, attack: str
) -> None:
    async with jail(tmp_path_factory.mktemp("counted")) as driver:
        assert await hoard(Stage(driver, runtime), attack, SECONDS) == "out_of_memory"


@root_only
@pytest.mark.parametrize("attack", HOARDS)
async def test_without_the_group_it_is_held(unbounded: Stage, attack: str) -> None:
    assert await hoard(unbounded, attack, 0) is True


@root_only
async def test_memory_that_is_taken_after_the_result_is_counted_by_the_kernel(
    tmp_path: Path, runtime: str, unbounded: Stage
) -> None:
    async with jail(tmp_path) as driver:
        attacker = await Stage(driver, runtime).start("attacks", "index.memory_after_result", memory_mb=MEMORY_MB)
        await attacker.invoke(b'{"mb": 400}')
        async with asyncio.timeout(PATIENCE_S):
            await attacker.died.wait()
    free = await unbounded.start("attacks", "index.memory_after_result", memory_mb=MEMORY_MB)
    await free.invoke(b'{"mb": 400}')
    async with asyncio.timeout(PATIENCE_S):
        while await free.json(b'{"ask": true}') < 400:  # noqa: ASYNC110 (the function does it)
            await asyncio.sleep(0.05)


async def test_buffers_of_connections(stage: Stage, grade: str) -> None:
    """An ordinary user's jail does not count them: SPECIFICATION.md says so."""
    attacker = await stage.start("attacks", "index.connection_buffers", memory_mb=MEMORY_MB)
    try:
        kept_mb = await attacker.json(json.dumps({**CONNECTIONS, "seconds": 1}).encode())
    except SandboxDied as died:
        kept_mb = died.reason
    assert (kept_mb if isinstance(kept_mb, int) else 0) < MEMORY_MB or grade == "user"
    assert grade == "root" or kept_mb > MEMORY_MB


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("walled", [True, False])
async def test_buffers_of_connections_are_bounded_in_a_network_of_its_own(
    walled: bool, asks: bool, tmp_path: Path, runtime: str
) -> None:
    """Of an ordinary user's: as much as 208 KB for each connection, whatever the function asks for."""
    without = frozenset() if walled else frozenset({"memory"})
    async with jail(tmp_path, **GRADES["user"], network="none", without=without) as driver:
        attacker = await Stage(driver, runtime).start("attacks", "index.connection_buffers", memory_mb=MEMORY_MB)
        event = {**CONNECTIONS, "asks": asks, "seconds": 0}
        kept_mb = await attacker.json(json.dumps(event).encode())
    assert (kept_mb * 1024 <= CONNECTIONS["pairs"] * 208) == walled


@pytest.mark.parametrize("level", list(GRADES))
@pytest.mark.parametrize("walled", [True, False])
async def test_ports_are_an_instances_own(level: str, walled: bool, tmp_path: Path, runtime: str) -> None:
    without = frozenset() if walled else frozenset({"network"})
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    async with jail(tmp_path, **GRADES[level], network="none", without=without) as driver:
        attacker = await Stage(driver, runtime).start("attacks", "index.takes_port")
        assert await attacker.json(json.dumps({"port": port}).encode()) is True
        assert can_listen(port) == walled


def can_listen(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("level", list(GRADES))
async def test_whose_processes_they_are_on_the_host(level: str, tmp_path: Path, runtime: str) -> None:
    """An ordinary user's instances are that user's own, to the host."""
    async with jail(tmp_path, **GRADES[level]) as driver:
        actor = await Stage(driver, runtime).start("hello")
        owner = psutil.Process(actor.sandbox.init_pid).uids().real
    assert (owner != os.geteuid()) == (level == "root")
