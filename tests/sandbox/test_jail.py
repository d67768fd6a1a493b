"""The driver `jail`: what an instance finds around it, its limits, its freezing, its end, and what is left of it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from tests.runtime.conftest import Stage
from tests.support.jails import ISOLATION, Traces, jail, jail_only, resolve, root_only

from sesame.model.command import Command
from sesame.model.errors import ConfigurationError
from sesame.sandbox.interface import KillReason, SandboxDied, SandboxStartFailed, StartFailure
from sesame.sandbox.jail.driver import JailDriver, JailOptions
from sesame.sandbox.jail.instance import JailSandbox
from sesame.sandbox.jail.isolation import Isolation
from sesame.sandbox.launch import Launch

# What `select` can wait for.
SELECT_DESCRIPTORS = 1024

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[JailDriver]:
    async with jail(tmp_path_factory.mktemp("jail")) as made:
        yield made


async def test_phases_of_the_start(stage: Any) -> None:
    actor = await stage.start("hello")
    assert list(actor.sandbox.phases) == ["zygote_ms", "fork_ms", "mounts_ms", "shim_ms"]
    assert all(value >= 0 for value in actor.sandbox.phases.values())


async def test_a_function_runs_as_its_own_user(stage: Any) -> None:
    actor = await stage.start("jailed", "index.who", instance_id="c-who")
    seen = await actor.json()
    assert (seen["pid"], seen["host"]) == (2, "c-who")
    assert seen["uid"] == seen["gid"] >= 10_000
    # Input, output twice, the socket; Python 2 keeps one of /dev/urandom.
    assert len(seen["fds"]) <= (5 if stage.py2 else 4)
    status = seen["status"]
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"].strip()) == ("1", "2", "")
    assert seen["flags"] == [1, 0]


async def test_its_own_name_and_localhost_resolve(stage: Any) -> None:
    seen = await (await stage.start("jailed", "index.names", instance_id="c-3f0a-names")).json()
    assert seen == [True, "127.0.1.1", True, "127.0.0.1", "::1", "localhost", False, False, ["127.0.1.1"], [True] * 3]


async def test_two_instances_share_no_randomness_and_no_user(stage: Any) -> None:
    actors = [await stage.start("jailed", "index.who") for _ in range(2)]
    first, second = [await actor.json() for actor in actors]
    for name in ("random", "uuid", "uuid1") if ISOLATION.kind == "user" else ("random", "uuid", "uuid1", "uid"):
        assert first[name] != second[name]


async def test_names_are_resolved_and_certificates_are_there(stage: Any) -> None:
    actor = await stage.start("jailed", "index.resolve")
    assert await actor.json() == ["127.0.0.1", "/tmp", True, True]


async def test_libraries_and_modules_imported_after_the_zygote_started(stage: Any, tmp_path: Path) -> None:
    code, layer = tmp_path / "code", tmp_path / "layer"
    (code / "lib").mkdir(parents=True)
    (layer / "lib").mkdir(parents=True)
    (layer / "python").mkdir()
    library = some_library()
    (code / "index.py").write_text((Path(__file__).parents[1] / "functions/jailed/index.py").read_text())
    (code / "lib" / "libofthecode.so").write_bytes(library.read_bytes())
    (layer / "lib" / "libofthelayer.so").write_bytes(library.read_bytes())
    (layer / "python" / "of_the_layer.py").touch()
    (layer / "user" / "lib").mkdir(parents=True)
    actor = await stage.start(code, "index.import_from", code_dir=code, layer_dirs=(layer,))
    assert await actor.json(b"libofthecode.so") is True
    assert await actor.json(b"libofthelayer.so") is True
    assert await actor.json(b"of_the_layer") == "/opt/python/of_the_layer.py"


async def test_as_many_layers_as_a_function_may_have_are_merged(stage: Any, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "index.py").write_text((Path(__file__).parents[1] / "functions/jailed/index.py").read_text())
    # As long as the names of packages in a data directory.
    layers = [tmp_path / f"{number}{'x' * 80}" for number in range(5)]
    for number, layer in enumerate(layers):
        (layer / "python").mkdir(parents=True)
        (layer / "python" / f"of_layer_{number}.py").touch()
    actor = await stage.start(code, "index.import_from", code_dir=code, layer_dirs=tuple(layers))
    for number in range(5):
        assert await actor.json(f"of_layer_{number}".encode()) == f"/opt/python/of_layer_{number}.py"


def some_library() -> Path:
    return next(path for path in Path("/usr/lib").rglob("libz.so.1") if path.is_file())


@pytest.mark.parametrize("place", ["/code/x", "/opt/x", "/x", "/etc/x", "/usr/lib/x", "/var/x", "/dev/x", "/proc/x"])
async def test_only_tmp_can_be_written(stage: Any, place: str) -> None:
    actor = await stage.start("jailed", "index.write_file")
    assert (await actor.error(place.encode()))["errorType"] in (
        "OSError",
        "IOError",
        "PermissionError",
        "FileNotFoundError",
    )
    for allowed in ("/tmp/x", "/dev/shm/x"):
        assert (await actor.invoke(allowed.encode())).payload == allowed.encode()


async def test_tmp_is_real_private_and_not_charged_to_memory(stage: Any) -> None:
    actor = await stage.start("jailed", "index.fill_tmp", memory_mb=128)
    assert await actor.json(b"400") == {"written": 400, "errno": 0}
    assert actor.sandbox.memory_peak_mb() < 64
    full = await actor.json(b"600")
    assert 500 <= full["written"] <= 530
    assert full["errno"] == 28
    neighbour = await stage.start("jailed", "index.listing")
    assert await neighbour.json(b"/tmp") == []


@root_only
async def test_memory_over_the_limit_is_killed_by_the_kernel(stage: Any) -> None:
    actor = await stage.start("jailed", "index.hold", memory_mb=128)
    assert (await actor.invoke(b"60")).ok
    assert 60 < actor.sandbox.memory_peak_mb() < 110
    with pytest.raises(SandboxDied) as died:
        await actor.invoke(b"200")
    assert died.value.reason == "out_of_memory"
    assert str(died.value).endswith(" MB of 128 MB")
    assert 120 < actor.sandbox.memory_peak_mb() <= 129


async def test_memory_over_the_limit_ends_the_instance_without_cgroups_too(runtime: str, tmp_path: Path) -> None:
    async with jail(tmp_path, cgroups=False) as driver:
        actor = await Stage(driver, runtime).start("hogs", "index.memory", memory_mb=128)
        assert "resident sets" in by(driver, "memory")
        with pytest.raises(SandboxDied) as died:
            await actor.invoke(b"300")
        assert died.value.reason == "out_of_memory"
        assert actor.sandbox.memory_peak_mb() > 128


async def test_freezing_without_cgroups(runtime: str, tmp_path: Path, until: Any) -> None:
    async with jail(tmp_path, cgroups=False) as driver:
        actor = await Stage(driver, runtime).start("jailed", "index.ticks")
        assert "SIGSTOP" in by(driver, "freezing while idle")
        await stands_still_while_frozen(actor, until)
        usage = await actor.sandbox.usage()
        assert usage is not None
        assert 4 < usage.memory_mb < 128
        assert usage.cpu_s >= 0
        assert usage.cpu_quota is None


async def test_a_server_with_many_open_connections_starts_zygotes(runtime: str, tmp_path: Path) -> None:
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(SELECT_DESCRIPTORS)]
    try:
        async with jail(tmp_path) as driver:
            actor = await Stage(driver, runtime).start("exits", "index.pid")
            assert (await actor.invoke()).payload.isdigit()
            execution = await actor.sandbox.exec(Command(("true",)))
            assert await execution.wait() == 0
    finally:
        for fd in held:
            os.close(fd)


def by(driver: JailDriver, what: str) -> str:
    return next(line.by for line in driver.enforcement() if line.what == what)


async def test_processes_are_limited(stage: Any) -> None:
    # So much that a thousand processes are never ended for their memory before they are for their number.
    actor = await stage.start("jailed", "index.forks", memory_mb=8192)
    made = int((await actor.invoke(b"1500")).payload)
    assert 900 < made < 1024


async def test_a_frozen_instance_stands_still_until_thawed(stage: Any, until: Any) -> None:
    await stands_still_while_frozen(await stage.start("jailed", "index.ticks"), until)


async def stands_still_while_frozen(actor: Any, until: Any) -> None:
    await actor.invoke()
    await until(lambda: "tick 3" in actor.text, "it ticks")
    actor.sandbox.freeze()
    before = await stood_still(actor)
    actor.sandbox.thaw()
    await until(lambda: actor.text.count("tick") > before, "it ticks again")


async def stood_still(actor: Any) -> int:
    """How often it had ticked once nothing more came for 0.2 s, in which it ticks many times unless it is frozen."""
    async with asyncio.timeout(30):
        while True:
            before = actor.text.count("tick")
            await asyncio.sleep(0.2)
            if actor.text.count("tick") == before:
                return int(before)


async def test_a_frozen_instance_is_killed(stage: Any) -> None:
    actor = await stage.start("jailed", "index.ticks")
    await actor.invoke()
    actor.sandbox.freeze()
    async with asyncio.timeout(30):
        await actor.sandbox.kill(KillReason.FAILED)
    assert actor.deaths == 0


async def test_death_while_idle_is_reported_once(stage: Any) -> None:
    actor = await stage.start("exits", "index.later")
    await actor.invoke()
    async with asyncio.timeout(30):
        await actor.died.wait()
    with pytest.raises(SandboxDied) as died:
        await actor.invoke()
    assert (died.value.reason, actor.deaths) == ("exit", 1)


async def test_kill_ends_what_the_function_started(stage: Any, until: Any) -> None:
    actor = await stage.start("orphans")
    assert (await actor.invoke(b"jail-orphan")).payload == b"left"
    pid = actor.sandbox.init_pid
    assert len(Traces.processes_below(pid)) >= 6
    await actor.sandbox.kill(KillReason.FAILED)
    assert Traces.processes_below(pid) == []
    await actor.sandbox.kill(KillReason.FAILED)


async def test_a_cancelled_start_leaves_nothing(stage: Any, driver: JailDriver, until: Any) -> None:
    await stage.start("hello")
    for pause_s in (0.0, 0.001, 0.002, 0.004, 0.008, 0.016):
        before = driver.sandboxes()
        starting = asyncio.create_task(stage.start("hello"))
        await asyncio.sleep(pause_s)
        starting.cancel()
        await asyncio.wait([starting])
        if starting.cancelled():
            assert driver.sandboxes() == before


async def test_a_cancelled_start_that_hangs_ends_with_its_time_limit(
    stage: Any, driver: JailDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = asyncio.Event()

    async def hang(_sandbox: JailSandbox, *_rest: Any) -> None:
        hangs.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(JailSandbox, "start", hang)
    monkeypatch.setattr("sesame.sandbox.jail.driver.start_timeout_s", lambda _spec: 0.05)
    before = driver.sandboxes()
    starting = asyncio.create_task(stage.start("hello"))
    await hangs.wait()
    starting.cancel()
    async with asyncio.timeout(30):
        await asyncio.wait({starting})
    assert (starting.cancelled(), driver.sandboxes()) == (True, before)


async def test_a_start_that_fails_says_why(stage: Any, tmp_path: Path) -> None:
    with pytest.raises(SandboxStartFailed, match="No such file"):
        await stage.start(tmp_path / "nowhere")
    nobody = Stage(stage.driver, "python1.5")
    with pytest.raises(SandboxStartFailed, match="no interpreter for") as refused:
        await nobody.start("hello")
    assert (refused.value.kind, refused.value.cause) == (StartFailure.REFUSED, "no interpreter for python1.5")


async def test_a_start_that_fails_in_the_shim_says_how_the_process_ended(stage: Any) -> None:
    with pytest.raises(SandboxStartFailed, match="KeyError") as failed:
        await stage.start("hello", setup={"function": {}})
    assert failed.value.kind is StartFailure.CRASHED
    assert failed.value.cause


async def test_an_interpreter_that_does_not_run_is_told_from_one_that_was_killed(tmp_path: Path) -> None:
    broken = tmp_path / "installation" / "bin" / "python"
    broken.parent.mkdir(parents=True)
    broken.write_text("#!/bin/sh\nexit 5\n")
    broken.chmod(0o755)
    driver = JailDriver(lambda runtime: Launch(broken), tmp_path / "state", JailOptions(ready_prewarmed=0))
    await driver.open()
    try:
        with pytest.raises(SandboxStartFailed) as failed:
            await Stage(driver, "python3.12").start("hello")
        assert failed.value.kind is StartFailure.CRASHED
        assert failed.value.cause.startswith("the interpreter of its runtime")
        broken.unlink()
        with pytest.raises(SandboxStartFailed, match="cannot be started"):
            await Stage(driver, "python3.12").start("hello")
    finally:
        await driver.close()


async def test_a_zygote_that_was_killed_is_replaced(stage: Any, driver: JailDriver) -> None:
    actor = await stage.start("hello")
    os.kill(driver.zygote_pid(stage.runtime), 9)
    async with asyncio.timeout(30):
        await actor.died.wait()
    again = await stage.start("hello")
    assert (await again.invoke()).payload == b"hello world"


async def test_a_jail_that_a_kill_broke_is_no_crash_of_the_function(runtime: str, tmp_path: Path) -> None:
    """Process 1 of a prewarmed sandbox fails when its second process is gone before the order comes."""
    async with jail(tmp_path) as driver:
        stage = Stage(driver, runtime)
        await (await stage.start("hello")).sandbox.kill(KillReason.DONE)
        await driver.settled()
        prewarmed = _children(driver.zygote_pid(runtime))
        assert prewarmed
        for init in prewarmed:
            for function in _children(init):
                os.kill(function, signal.SIGKILL)
        with pytest.raises(SandboxStartFailed) as failed:
            await stage.start("hello")
        assert (failed.value.kind, failed.value.cause) == (StartFailure.TRANSIENT, "")


def _children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]


@root_only
async def test_the_cloud_gives_processors_by_memory(runtime: str, tmp_path: Path) -> None:
    async with jail(tmp_path, cpu="cloud") as driver:
        stage = Stage(driver, runtime)
        actor = await stage.start("jailed", "index.spin", memory_mb=384)
        assert json.loads((await actor.invoke(b"1")).payload) < 0.45
        usage = await actor.sandbox.usage()
        assert usage is not None
        assert usage.cpu_quota == 0.25
        assert usage.cpu_s > 0.1
        assert 4 < usage.memory_mb < 128


@root_only
async def test_processors_that_a_function_names_go_before_its_memory(runtime: str, tmp_path: Path) -> None:
    async with jail(tmp_path, cpu="cloud") as driver:
        actor = await Stage(driver, runtime).start("jailed", "index.spin", memory_mb=384, cpu=0.5)
        usage = await actor.sandbox.usage()
        assert usage is not None
        assert usage.cpu_quota == 0.5


async def test_a_jail_that_cannot_isolate_is_refused(tmp_path: Path) -> None:
    driver = JailDriver(
        resolve, tmp_path, JailOptions(probe=lambda: Isolation("none", "unshare: refused", "run as root"))
    )
    assert driver.enforcement() == ()
    with pytest.raises(ConfigurationError, match=r"sandbox jail: unshare: refused\. Next: run as root"):
        await driver.open()


async def test_every_wall_is_listed_with_the_mechanism_that_enforces_it(driver: JailDriver) -> None:
    held = {line.what: line for line in driver.enforcement()}
    assert all(line.by for line in held.values())
    assert [what for what, line in held.items() if not line.enforced] == (
        ["own network"]
        if ISOLATION.kind == "root"
        else ["the disk's reserve", "own user", "buffers of sockets", "processor", "own network"]
    )
