"""The driver `plain`: what it starts, what it ends, what it counts, and that nothing is left of it."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.support.interpreters import INTERPRETERS

from sesame.model.bucket_mount import BucketMount
from sesame.model.nas import NasMount
from sesame.sandbox.interface import KillReason, SandboxDied, SandboxSpec, SandboxStartFailed, StartFailure
from sesame.sandbox.launch import Launch
from sesame.sandbox.process.driver import PlainDriver, PlainSandbox
from sesame.sandbox.volumes import NasVolumes

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOUND = INTERPRETERS
linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture(scope="module", params=[pytest.param("python2.7", marks=pytest.mark.thorough), "python3"])
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param not in FOUND:
        pytest.skip(f"no interpreter found for {request.param}")
    return str(request.param)


def named(mark: str) -> list[int]:
    """Processes whose first argument is `mark`, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes().split(b"\0")[0] == mark.encode():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def test_phases_of_the_start(stage: Any) -> None:
    actor = await stage.start("hello")
    assert list(actor.sandbox.phases) == ["fork_ms", "interpreter_ms"]
    assert all(value > 0 for value in actor.sandbox.phases.values())


async def test_memory_is_counted_by_the_kernel(stage: Any) -> None:
    actor = await stage.start("hogs", "index.briefly")
    await actor.invoke(b"1")
    before = actor.sandbox.memory_peak_mb()
    assert 4 < before < 64
    assert (await actor.invoke(b"100")).ok
    assert before + 80 < actor.sandbox.memory_peak_mb() < before + 250


async def test_usage_is_of_the_moment(stage: Any) -> None:
    actor = await stage.start("hogs", "index.briefly")
    await actor.invoke(b"100")
    usage = await actor.sandbox.usage()
    assert usage is not None
    assert 4 < usage.memory_mb < actor.sandbox.memory_peak_mb()
    assert usage.cpu_s > 0
    assert usage.cpu_quota is None
    await actor.sandbox.kill(KillReason.DONE)
    assert await actor.sandbox.usage() is None


@pytest.mark.parametrize(("handler", "event"), [("index.memory", b"300"), ("index.in_child", b"300")])
async def test_memory_over_the_limit_ends_the_instance(stage: Any, handler: str, event: bytes) -> None:
    actor = await stage.start("hogs", handler, memory_mb=128)
    with pytest.raises(SandboxDied) as died:
        await actor.invoke(event)
    assert died.value.reason == "out_of_memory"
    assert str(died.value).endswith(" MB of 128 MB")
    assert actor.sandbox.memory_peak_mb() > 128
    assert actor.deaths == 0


async def test_the_watch_of_calls_goes_on_after_a_failure(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    check, failures = PlainSandbox.check_memory, iter(range(1))

    def fail_once(sandbox: PlainSandbox) -> None:
        if next(failures, None) is not None:
            raise OSError("/proc is busy")
        check(sandbox)

    monkeypatch.setattr(PlainSandbox, "check_memory", fail_once)
    actor = await stage.start("hogs", "index.in_child", memory_mb=128)
    with pytest.raises(SandboxDied) as died:
        await actor.invoke(b"300")
    assert died.value.reason == "out_of_memory"
    assert next(failures, None) is None


@linux_only
async def test_shared_pages_count_once(stage: Any) -> None:
    actor = await stage.start("hogs", "index.shared", memory_mb=192)
    assert (await actor.invoke(b"96")).payload == b"shared"


async def test_memory_that_came_and_went_counts_too(stage: Any) -> None:
    actor = await stage.start("hogs", "index.briefly", memory_mb=128)
    with pytest.raises(SandboxDied) as died:
        await actor.invoke(b"300")
    assert died.value.reason == "out_of_memory"


async def test_a_temporary_directory_of_its_own(stage: Any) -> None:
    first = await stage.start("surroundings", "index.temporary")
    second = await stage.start("surroundings", "index.temporary")
    paths = [Path((await actor.invoke()).payload.decode()) for actor in (first, second)]
    assert paths[0].parent != paths[1].parent
    assert all(path.exists() for path in paths)
    await first.sandbox.kill(KillReason.FAILED)
    assert [path.parent.exists() for path in paths] == [False, True]


async def test_the_temporary_directory_has_a_size(stage: Any) -> None:
    actor = await stage.start("hogs", "index.disk", disk_mb=20)
    with pytest.raises(SandboxDied) as died:
        await actor.invoke(b"40")
    assert died.value.reason == "disk"
    one = await stage.start("hogs", "index.one_file", disk_mb=20)
    assert (await one.error(b"40"))["errorType"] == ("IOError" if stage.py2 else "OSError")


async def test_limits(stage: Any) -> None:
    actor = await stage.start("surroundings", "index.limits", disk_mb=512)
    files, core, size = await actor.json()
    assert 1024 <= files[0] == files[1] <= 100_000
    assert core == [0, 0]
    assert size == [512 * 2**20] * 2


@linux_only
async def test_kill_leaves_nothing(stage: Any, until: Any) -> None:
    actor = await stage.start("orphans")
    mark = f"orphan-{actor.sandbox.instance_id}"
    assert (await actor.invoke(mark.encode())).payload == b"left"
    assert len(await until(lambda: len(left := named(mark)) == 5 and left, "all five run")) == 5
    await actor.sandbox.kill(KillReason.FAILED)
    # The one that has left both session and environment behind is found when no instance is left to own it.
    assert len(named(mark)) <= 1
    await stage.clear()
    await until(lambda: not named(mark), "nothing is left", 2.0)
    await actor.sandbox.kill(KillReason.FAILED)


@linux_only
async def test_killing_an_instance_ends_no_other(stage: Any, until: Any) -> None:
    actor, neighbour = await stage.start("orphans"), await stage.start("orphans")
    marks = [f"neighbour-{a.sandbox.instance_id}" for a in (actor, neighbour)]
    await actor.invoke(marks[0].encode())
    await neighbour.invoke(marks[1].encode())
    await until(lambda: len(named(marks[1])) == 5, "all run")
    await actor.sandbox.kill(KillReason.FAILED)
    assert len(named(marks[1])) == 5
    assert (await neighbour.invoke(b"again")).payload == b"left"


@linux_only
async def test_many_children(stage: Any, until: Any) -> None:
    actor = await stage.start("orphans", "index.bomb", memory_mb=4096)
    pid = actor.sandbox.pid
    assert (await actor.invoke()).payload == b"many"
    await actor.sandbox.kill(KillReason.FAILED)
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)


async def test_a_call_that_is_killed(stage: Any, until: Any) -> None:
    actor = await stage.start("hangs")
    call = asyncio.create_task(actor.invoke())
    await until(lambda: "going to sleep" in actor.text, "the handler runs")
    await actor.sandbox.kill(KillReason.FAILED)
    with pytest.raises(SandboxDied) as died:
        await call
    assert died.value.reason == "killed"
    assert actor.deaths == 0


@linux_only
async def test_a_frozen_instance_does_not_run_until_thawed(stage: Any, until: Any) -> None:
    actor = await stage.start("exits", "index.pid")
    pid = (await actor.invoke()).payload.decode()
    state = Path(f"/proc/{pid}/stat")
    actor.sandbox.freeze()
    await until(lambda: state.read_text().rpartition(") ")[2][0] == "T", "it is stopped")
    actor.sandbox.thaw()
    assert (await actor.invoke()).payload.decode() == pid
    actor.sandbox.freeze()
    await actor.sandbox.kill(KillReason.FAILED)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


async def test_invalid_interpreters_are_refused(stage: Any, tmp_path: Path) -> None:
    driver = PlainDriver(lambda runtime: Launch(tmp_path / "no-python"), tmp_path / "scratch")
    await driver.open()
    spec = SandboxSpec("c-none", "python3", tmp_path, (), {}, 128, 512, {})
    try:
        with pytest.raises(SandboxStartFailed, match="No such file") as crashed:
            await driver.create(spec, lambda data: None, lambda: None)
        assert (crashed.value.kind, crashed.value.cause) == (StartFailure.CRASHED, "exit status 127")
        assert list((tmp_path / "scratch" / "instances").iterdir()) == []
        none: dict[str, Launch] = {}
        driver.resolve = none.__getitem__
        with pytest.raises(SandboxStartFailed) as refused:
            await driver.create(spec, lambda data: None, lambda: None)
        assert refused.value.kind is StartFailure.REFUSED
    finally:
        await driver.close()


async def test_a_start_that_fails_in_the_shim(stage: Any) -> None:
    with pytest.raises(SandboxStartFailed, match="KeyError") as failed:
        await stage.start("hello", setup={"function": {}})
    assert (failed.value.kind, failed.value.cause) == (StartFailure.CRASHED, "exit status 129")


@linux_only
async def test_a_cancelled_start_leaves_nothing(stage: Any) -> None:
    for turns in range(0, 40, 4):
        start = asyncio.create_task(stage.start("hello"))
        for _ in range(turns):
            await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    assert stage.driver.instance_ids() == set()


@linux_only
async def test_closing_the_driver_ends_every_instance(stage: Any, tmp_path: Path, until: Any) -> None:
    driver = PlainDriver(stage.driver.resolve, tmp_path / "scratch")
    await driver.open()
    other = type(stage)(driver, stage.runtime)
    actor = await other.start("orphans")
    mark = f"closed-{actor.sandbox.instance_id}"
    await actor.invoke(mark.encode())
    spawner = driver.spawner_pid
    await driver.close()
    assert named(mark) == []
    with pytest.raises(ProcessLookupError):
        os.kill(spawner, 0)
    assert list((tmp_path / "scratch").iterdir()) == []


@linux_only
async def test_the_end_of_the_spawner_is_the_end_of_its_instances_and_the_next_start_gets_another(
    stage: Any, tmp_path: Path, until: Any
) -> None:
    driver = PlainDriver(stage.driver.resolve, tmp_path / "scratch")
    await driver.open()
    other = type(stage)(driver, stage.runtime)
    idle = await other.start("exits", "index.pid")
    pid = int((await idle.invoke()).payload)
    busy = await other.start("hangs")
    call = asyncio.create_task(busy.invoke())
    await until(lambda: "going to sleep" in busy.text, "the handler runs")
    os.kill(driver.spawner_pid, signal.SIGKILL)
    with pytest.raises(SandboxDied):
        await call
    await until(lambda: idle.deaths == 1, "the death was told")
    await until(lambda: not Path(f"/proc/{pid}/cwd").exists(), "the process has ended")
    again = await other.start("hello")
    assert (await again.invoke()).payload == b"hello world"
    await driver.close()


async def test_enforcement_tells_what_is_not_held(stage: Any) -> None:
    held = {line.what: line.enforced for line in stage.driver.enforcement()}
    assert held["time limit"]
    assert held["memory"]
    assert not held["own file system"]
    assert not held["number of processes"]
    assert stage.driver.name == "plain"


async def test_a_bucket_is_refused_with_the_way_out(stage: Any) -> None:
    mount = BucketMount(bucket="b", prefix="", mount_dir="/mnt/b", read_only=False)
    with pytest.raises(
        SandboxStartFailed, match=r"bucket 'b' cannot be mounted: the sandbox plain .* as root"
    ) as failed:
        await stage.start("files", "index.run", buckets=(mount,))
    assert failed.value.kind is StartFailure.REFUSED
    assert stage.driver.no_buckets in failed.value.cause


async def test_a_volume_is_there_already_or_the_start_is_refused(stage: Any, tmp_path: Path) -> None:
    target = tmp_path / "auto"
    nas = NasMount(server_addr="nas:/data", mount_dir=str(target), user_id=1000, group_id=1000)
    volume = NasVolumes(tmp_path / "nas", {}).provide(nas)
    with pytest.raises(SandboxStartFailed, match=r"'nas:/data' cannot be mounted at .*the sandbox plain") as failed:
        await stage.start("files", "index.run", volumes=(volume,))
    assert failed.value.kind is StartFailure.REFUSED
    target.symlink_to(tmp_path / "nas" / "nas" / "data")
    actor = await stage.start("files", "index.run", volumes=(volume,))
    assert await actor.json(f"write('{target}/f', 'x')".encode())
    assert (tmp_path / "nas" / "nas" / "data" / "f").read_text() == "x"
