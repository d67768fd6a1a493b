"""The spawner process outlives Sesame just long enough to end everything that Sesame had started."""

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sesame.model import limits
from sesame.sandbox.interface import SandboxStartFailed
from sesame.sandbox.process.spawner import Process, Spawner, Start
from sesame.sandbox.runtimes.interpreters import discover

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

FUNCTIONS = Path(__file__).parents[1] / "functions"
GONE_WITHIN_S = 2.0

# A Sesame in miniature: starts instances that leave processes behind, keeps them busy, and waits to be killed.
_PROGRAM = """
import asyncio, sys
from pathlib import Path
from sesame.sandbox.runtimes.interpreters import discover
from sesame.sandbox.launch import Launch
from sesame.sandbox.process.driver import PlainDriver
from sesame.sandbox.interface import Call, SandboxSpec

async def main(scratch, code, mark):
    found = next(iter(discover().values()))
    driver = PlainDriver(lambda runtime: Launch(found.path), Path(scratch))
    await driver.open()
    function = dict(name="f", handler="index.stuck", memory=1, timeout=1, initializer="", initialization_timeout=1)
    setup = dict(account_id="1", region="r", service=dict(name="s", log_project="", log_store=""), function=function,
                 pre_freeze="", pre_stop="", notice="")
    keys = dict(access_key_id="", access_key_secret="", security_token="")
    meta = dict(qualifier="q", version_id="v", credentials=keys)
    calls, sandboxes = [], []
    for number in range(3):
        spec = SandboxSpec(f"c-{mark}-{number}", found.runtime, Path(code), (), {}, 512, 512, setup)
        sandbox = await driver.create(spec, lambda data: None, lambda: None)
        sandboxes.append(sandbox)
        calls.append(asyncio.ensure_future(sandbox.call(Call("invoke", "r", meta, mark.encode()))))
    print(driver.spawner_pid, *(s.pid for s in sandboxes), flush=True)
    await asyncio.gather(*calls)

asyncio.run(main(*sys.argv[1:]))
"""


def descendants_by_cookie(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def wait_until(true: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.alone  # It times the end of processes.
def test_nothing_is_left_two_seconds_after_a_kill(tmp_path: Path) -> None:
    if not discover():
        pytest.skip("no interpreter found")
    mark = f"stuck{os.getpid()}"
    sesame = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(tmp_path / "scratch"), str(FUNCTIONS / "orphans"), mark],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sesame.stdout is not None
    spawner, *instances = map(int, sesame.stdout.readline().split())
    assert len(instances) == 3
    # Three instances with five descendants each, besides Sesame itself, which has the mark among its arguments.
    assert wait_until(lambda: len(descendants_by_cookie(mark)) >= 3 * 6 + 1, 20)
    os.kill(sesame.pid, signal.SIGKILL)
    sesame.wait()
    assert wait_until(lambda: not descendants_by_cookie(mark), GONE_WITHIN_S)
    assert wait_until(lambda: not Path(f"/proc/{spawner}/exe").exists(), GONE_WITHIN_S)


class Started:
    """A spawner with a program that it started, for the length of a test."""

    def __init__(self) -> None:
        self.spawner = Spawner()
        self.exits: list[str] = []
        self._count = 0

    async def run(self, *argv: str, env: dict[str, str] | None = None) -> tuple[Process, str]:
        """Waits for the program's end, and returns what it wrote."""
        self._count += 1
        name = f"c-run-{self._count}"
        start = Start(
            name,
            argv,
            {"FC_INSTANCE_ID": name, **(env or {})},
            "/",
            {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": limits.FILE_DESCRIPTORS},
        )
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        with ours, theirs, os.fdopen(reading, "rb") as output:
            process = await self.spawner.spawn(start, (theirs.fileno(), writing), lambda: self.exits.append(name))
            os.close(writing)
            await asyncio.wait_for(process.exited.wait(), 30)
            await process.kill()
            return process, output.read().decode()


def play(scene: Callable[[Started], Awaitable[None]]) -> None:
    async def whole() -> None:
        started = Started()
        started.spawner.open()
        try:
            await scene(started)
        finally:
            await started.spawner.close()
        assert not started.spawner.alive

    asyncio.run(whole())


def test_a_program_and_its_end() -> None:
    async def scene(started: Started) -> None:
        process, text = await started.run("/bin/sh", "-c", "echo $MINE; echo $$; ulimit -c; exit 3", env={"MINE": "m"})
        assert text.split() == ["m", str(process.pid), "0"]
        assert process.describe_exit() == "exit status 3"
        assert started.exits == ["c-run-1"]
        killed, _ = await started.run("/bin/sh", "-c", "kill -SEGV $$")
        assert killed.describe_exit() == "killed by SIGSEGV"

    play(scene)


def test_a_program_starts_in_a_session_of_its_own_with_three_descriptors_and_a_socket() -> None:
    async def scene(started: Started) -> None:
        leads = "os.getsid(0) == os.getpid() == os.getpgid(0)"
        program = f"import os; print({leads}, sorted(map(int, os.listdir('/proc/self/fd')))[:4])"
        _, text = await started.run(sys.executable, "-S", "-c", program)
        assert text.strip() == "True [0, 1, 2, 3]"
        _, status = await started.run("/bin/cat", "/proc/self/status", "/proc/self/oom_score_adj")
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        assert int(fields["SigIgn"], 16) & (1 << (signal.SIGINT - 1)) == 0
        assert status.splitlines()[-1] == "1000"

    play(scene)


def test_a_program_that_does_not_exist() -> None:
    async def scene(started: Started) -> None:
        process, text = await started.run("/no/such/program")
        assert "cannot start /no/such/program" in text
        assert process.describe_exit() == "exit status 127"

    play(scene)


def test_many_at_once_and_long_environments() -> None:
    async def scene(started: Started) -> None:
        value = "x" * 60_000
        runs = [started.run("/bin/sh", "-c", "echo ${#LONG}", env={"LONG": value}) for _ in range(20)]
        assert [text.strip() for _, text in await asyncio.gather(*runs)] == ["60000"] * 20
        assert len(started.exits) == 20

    play(scene)


def test_signals_of_the_terminal_reach_only_sesame() -> None:
    async def scene(started: Started) -> None:
        await started.run("/bin/true")
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(started.spawner.pid, number)
        await started.run("/bin/true")
        assert started.exits == ["c-run-1", "c-run-2"]

    play(scene)


def test_without_a_spawner_there_is_no_start() -> None:
    async def scene(started: Started) -> None:
        os.kill(started.spawner.pid, signal.SIGKILL)
        with pytest.raises(SandboxStartFailed, match="the spawner process"):
            await started.run("/bin/sleep", "10")
        with pytest.raises(SandboxStartFailed, match="the spawner process"):
            await started.run("/bin/sleep", "10")

    play(scene)


def test_a_function_may_open_far_fewer_files_than_the_server() -> None:
    async def scene(started: Started) -> None:
        _process, said = await started.run("/bin/sh", "-c", "ulimit -n")
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert int(said) == min(limits.FILE_DESCRIPTORS, hard // 4)

    play(scene)
