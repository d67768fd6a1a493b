"""Commands in an instance, in jail and in plain: what they see, how they end, and that nothing of them is left."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
import pytest_asyncio
from tests.runtime.conftest import Stage
from tests.support.jails import ISOLATION, jail, root_only
from tests.support.jails import resolve as launch_of
from tests.support.pauses import Pauses

from sesame.model.command import Command, Execution
from sesame.sandbox.exec_streams import PIECE_BYTES
from sesame.sandbox.interface import KillReason, SandboxDied
from sesame.sandbox.jail.driver import JailDriver
from sesame.sandbox.process.driver import PlainDriver

PATIENCE_S = 60.0
JAIL = pytest.param(
    "jail", marks=pytest.mark.skipif(not ISOLATION.possible, reason=f"no jail here: {ISOLATION.reason}")
)


IN_A_JAIL = pytest.mark.parametrize("kind", [JAIL], indirect=True)
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=[JAIL, "plain"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(kind: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    folder = tmp_path_factory.mktemp(kind)
    if kind == "jail":
        async with jail(folder) as jailing:
            yield jailing
    else:
        plain = PlainDriver(launch_of, folder / "plain")
        await plain.open()
        yield plain
        await plain.close()


@pytest_asyncio.fixture(loop_scope="module")
async def stage(driver: Any, runtime: str) -> AsyncIterator[Any]:
    made = Stage(driver, runtime)
    yield made
    await made.clear()


async def run(box: Any, *argv: str, given: bytes = b"", tty: bool = False) -> tuple[int, bytes, bytes]:
    """Exit code, output and errors of a command whose input is `given` and then ends."""
    running = await box.exec(Command(argv, tty=tty))
    try:
        async with asyncio.timeout(PATIENCE_S):
            await running.write(given)
            running.end_input()
            said = await everything(running)
            return await running.wait(), said[1], said[2]
    finally:
        await running.close()


async def everything(running: Execution) -> dict[int, bytes]:
    said = {1: b"", 2: b""}
    while (piece := await running.read()) is not None:
        said[piece[0]] += piece[1]
    return said


async def until_said(running: Execution, text: bytes) -> bytes:
    said = b""
    async with asyncio.timeout(PATIENCE_S):
        while text not in said:
            piece = await running.read()
            assert piece is not None, said
            said += piece[1]
    return said


async def until_gone(mark: str) -> None:
    pauses = Pauses(0.02)
    async with asyncio.timeout(PATIENCE_S):
        while any(mark in " ".join(arguments(process)) for process in psutil.process_iter()):
            await pauses.wait()


def arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def test_output_errors_input_and_exit_code(stage: Any) -> None:
    actor = await stage.start("hello")
    assert await run(actor.sandbox, "echo", "hello", "it's") == (0, b"hello it's\n", b"")
    assert await run(actor.sandbox, "cat", given=b"\0\xff" * 1000) == (0, b"\0\xff" * 1000, b"")
    assert await run(actor.sandbox, "sh", "-c", "echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")
    assert (await run(actor.sandbox, "sh", "-c", "kill -9 $$"))[0] == 137
    code, out, err = await run(actor.sandbox, "no-such-program")
    assert (code, out) == (127, b"")
    assert b"cannot run no-such-program" in err
    assert (await run(actor.sandbox, "/etc/passwd"))[0] == 126
    assert (await actor.invoke(b"")).ok


async def test_a_command_sees_what_the_function_sees(stage: Any, kind: str) -> None:
    actor = await stage.start("hello", environment={"MINE": "of the function"})
    told = await run(actor.sandbox, "sh", "-c", "pwd; echo $MINE; echo $FC_INSTANCE_ID; ls index.py")
    lines = told[1].decode().splitlines()
    assert lines[1:] == ["of the function", actor.sandbox.instance_id, "index.py"]
    assert (lines[0] == "/code") == (kind == "jail")


async def test_a_terminal_and_its_size(stage: Any) -> None:
    actor = await stage.start("hello")
    running = await actor.sandbox.exec(Command(("bash", "--norc"), tty=True))
    try:
        running.resize(132, 43)
        await running.write(b"stty size; echo $TERM; [ -t 0 ] && echo ye''s\n")
        said = await until_said(running, b"yes\r\n")
        assert b"43 132\r\nxterm-256color\r\n" in said
        await running.write(b"sh -c 'trap \"stty size\" WINCH; echo rea''dy; while :; do sleep 0.05; done'\n")
        await until_said(running, b"ready\r\n")
        running.resize(80, 25)
        await until_said(running, b"25 80\r\n")
        await running.write(b"\x03")
        await running.write(b"exit 5\n")
        await everything(running)
        assert await running.wait() == 5
    finally:
        await running.close()


async def test_processes_that_a_command_leaves_end_with_it(stage: Any) -> None:
    actor = await stage.start("hello")
    assert (await run(actor.sandbox, "sh", "-c", "(setsid sleep 7531 &) ; (sleep 7531 &) ; exit 4"))[0] == 4
    await until_gone("sleep 7531")
    assert (await actor.invoke(b"")).ok


async def test_closing_a_command_ends_all_its_processes_and_not_the_function(stage: Any) -> None:
    actor = await stage.start("hello")
    running = await actor.sandbox.exec(
        Command(("sh", "-c", "setsid sleep 7532 & echo started; trap '' TERM HUP; wait"))
    )
    await until_said(running, b"started")
    await running.close()
    await running.close()
    assert await running.wait() == 137
    await until_gone("sleep 7532")
    assert await running.read() is None
    assert (await actor.invoke(b"")).ok


async def test_it_ends_with_its_instance(stage: Any) -> None:
    actor = await stage.start("hello")
    running = await actor.sandbox.exec(Command(("sh", "-c", "setsid sleep 7533 & echo started; wait")))
    await until_said(running, b"started")
    async with asyncio.timeout(PATIENCE_S):
        await actor.sandbox.kill(KillReason.FAILED)
        assert await running.wait() == 137
    await until_gone("sleep 7533")
    await running.close()
    with pytest.raises(SandboxDied):
        await actor.sandbox.exec(Command(("echo",)))


async def test_unread_output_stops_the_command(stage: Any) -> None:
    actor = await stage.start("hello")
    running = await actor.sandbox.exec(Command(("sh", "-c", "head -c 5000000 /dev/zero; echo done >&2")))
    try:
        piece = await running.read()
        assert piece is not None
        assert len(piece[1]) <= PIECE_BYTES
        with pytest.raises(TimeoutError):
            # Its other output would come first if it had gone on.
            await asyncio.wait_for(running.wait(), 0.3)
        said = await everything(running)
        assert len(piece[1]) + len(said[1]) == 5_000_000
        assert said[2] == b"done\n"
    finally:
        await running.close()


async def test_unread_input_waits_or_is_dropped(stage: Any) -> None:
    actor = await stage.start("hello")
    running = await actor.sandbox.exec(Command(("sh", "-c", "read go; exec <&-; echo closed; sleep 60")))
    writing = asyncio.create_task(running.write(b"go\n" + b"x" * 1_000_000))
    await until_said(running, b"closed")
    async with asyncio.timeout(PATIENCE_S):
        await writing
    await running.close()


def held() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


async def held_at_rest(stage: Any, until: Any) -> int:
    """The same, when all that the driver makes beforehand is made."""
    driver = stage.driver
    if isinstance(driver, JailDriver):
        await driver.settled()
    return held()


async def test_a_start_that_is_cancelled_leaves_nothing(stage: Any, until: Any) -> None:
    actor = await stage.start("hello")
    await run(actor.sandbox, "true")
    before = await held_at_rest(stage, until)
    script = "setsid sleep 7535 & wait"
    for turns in range(6):
        starting = asyncio.create_task(actor.sandbox.exec(Command(("sh", "-c", script))))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await starting).close()
    await until_gone("sleep 7535")
    await until(lambda: held() <= before, "the descriptors are closed")
    assert (await actor.invoke(b"")).ok


async def test_many_concurrent_commands_leave_no_descriptors(stage: Any, until: Any) -> None:
    actor = await stage.start("hello")
    await run(actor.sandbox, "true")
    before = await held_at_rest(stage, until)
    codes = await asyncio.gather(
        *(run(actor.sandbox, "sh", "-c", f"exit {code}", tty=code % 2 == 0) for code in range(9))
    )
    assert [code for code, _, _ in codes] == list(range(9))
    await until(lambda: held() <= before, "the descriptors are closed")


@root_only
@IN_A_JAIL
async def test_in_a_jail_a_command_has_the_functions_privileges(stage: Any) -> None:
    actor = await stage.start("hello")
    box = actor.sandbox
    status = (await run(box, "grep", "-E", "^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)", "/proc/self/status"))[1]
    function = (await run(box, "grep", "-E", "^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)", "/proc/2/status"))[1]
    assert status == function
    assert b"CapEff:\t0000000000000000" in status
    for namespace in ("mnt", "pid", "ipc", "uts", "cgroup"):
        seen = await run(box, "sh", "-c", f"readlink /proc/self/ns/{namespace} /proc/2/ns/{namespace}")
        assert len(set(seen[1].split())) == 1, namespace
    groups = (await run(box, "sh", "-c", "diff /proc/self/cgroup /proc/2/cgroup && echo same"))[1]
    assert groups == b"same\n"
    assert (await run(box, "sh", "-c", "ls /proc/self/fd | wc -l"))[1].strip() == b"4"
    assert (await run(box, "sh", "-c", "echo x > /code/x"))[0] != 0
    assert (await run(box, "sh", "-c", "ls /proc/1/fd"))[0] != 0
    assert (await run(box, "unshare", "-m", "true"))[0] != 0


@root_only
@IN_A_JAIL
async def test_an_instance_whose_session_leader_was_killed_ends_completely(stage: Any) -> None:
    actor = await stage.start("hello")
    running = await actor.sandbox.exec(Command(("sh", "-c", "setsid sleep 7534 & kill -9 $PPID; sleep 60")))
    async with asyncio.timeout(PATIENCE_S):
        assert await running.wait() == 137
    await running.close()
    await until_gone("sleep 7534")
    with pytest.raises(SandboxDied):
        await actor.invoke(b"")


@root_only
@IN_A_JAIL
async def test_memory_of_a_command_counts_as_the_function_s(stage: Any) -> None:
    actor = await stage.start("hello", memory_mb=128)
    assert (await run(actor.sandbox, "python", "-c", "held = b'x' * 60000000"))[0] == 0
    assert 60 < actor.sandbox.memory_peak_mb() < 120
    assert (await run(actor.sandbox, "python", "-c", "held = b'x' * 300000000"))[0] == 137
    assert (await actor.invoke(b"")).ok
