"""The shim itself: what runs under the functions' interpreters must compile under every one of them."""

import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.interpreters import INTERPRETERS

from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS
from sesame.sandbox.shim import SHIM

SOURCES = sorted(SHIM.rglob("*.py"))

_COMPILE = (
    "import sys\nfor path in sys.argv[1:]:\n    compile(open(path).read(), path, 'exec')\nprint(len(sys.argv) - 1)"
)
_IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
before = (sys.stdout, sys.stderr, list(sys.path), sys.getrecursionlimit())
import bootstrap
assert (sys.stdout, sys.stderr, list(sys.path), sys.getrecursionlimit()) == before
import threading
print(threading.active_count())
"""


def run(runtime: str, program: str, *arguments: str) -> str:
    interpreter = INTERPRETERS.get(runtime)
    if interpreter is None:
        pytest.skip(f"no interpreter found for {runtime}")
    command = [str(interpreter.path), "-S", "-B", "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("runtime", MINOR_VERSIONS)
def test_every_file_compiles_without_warnings(runtime: str) -> None:
    assert run(runtime, _COMPILE, *map(str, SOURCES)) == str(len(SOURCES))


@pytest.mark.parametrize("runtime", MINOR_VERSIONS)
def test_importing_the_shim_does_no_work(runtime: str) -> None:
    assert run(runtime, _IMPORT, str(SHIM / "python")) == "1"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_python_2_reads_it_without_a_coding_line(path: Path) -> None:
    assert path.read_bytes().isascii()


_SERVE = """
import socket, sys
sys.path.insert(0, sys.argv[1])
import wire
sock = socket.fromfd(int(sys.argv[2]), socket.AF_UNIX, socket.SOCK_STREAM)
connection = wire.Connection(sock, wire.arrival_at(sock))
try:
    while True:
        header, payload = connection.receive()
        connection.send_result(header["id"], True, None, payload, "")
except wire.EndOfStream:
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is counted by Linux")
@pytest.mark.parametrize("runtime", MINOR_VERSIONS)
def test_an_instance_wakes_once_for_each_call(runtime: str) -> None:
    """Not also when the host reads its answer, which woke who waited in `recv`."""
    interpreter = INTERPRETERS.get(runtime)
    if interpreter is None:
        pytest.skip(f"no interpreter found for {runtime}")
    ours, theirs = socket.socketpair()
    calls, fd = 50, theirs.fileno()
    command = [str(interpreter.path), "-S", "-B", "-c", _SERVE, str(SHIM / "python"), str(fd)]
    with ours, subprocess.Popen(command, pass_fds=[fd]) as serving:
        theirs.close()
        ours.settimeout(60)
        before = 0
        for number in range(calls + 1):
            head = b'{"type": "invoke", "id": "1"}'
            ours.sendall(struct.pack(">II", 4 + len(head), len(head)) + head)
            _until_it_sleeps(serving.pid, answered=ours)
            assert b'"ok": true' in ours.recv(4096)
            _until_it_sleeps(serving.pid)
            before = before if number else _times_slept(serving.pid)
        slept = _times_slept(serving.pid) - before
        ours.shutdown(socket.SHUT_WR)
        assert serving.wait(60) == 0
    assert calls <= slept < 1.5 * calls


def _until_it_sleeps(pid: int, answered: socket.socket | None = None) -> None:
    if answered is not None:
        assert select.select([answered], [], [], 60)[0]
    deadline = time.monotonic() + 60
    while (state := _status(pid)["State"][0]) != "S":
        assert state != "Z", "the instance has ended"
        assert time.monotonic() < deadline, f"the instance is in state {state}"
        time.sleep(0.0001)


def _times_slept(pid: int) -> int:
    return int(_status(pid)["voluntary_ctxt_switches"])


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}
