"""Machines of the tests' own: namespaces of the kernel for network, processes, mounts and the host name, on one bridge.

Used by the tests of clusters, as root on Linux. A machine can be killed with all that runs on it, cut off, and joined
again. The test itself stands beside the bridge at `Network.here`, and what it starts there (a database, a store) is
reached by every machine.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import pytest
from tests.support import tied

NEEDED = ("ip", "nsenter", "unshare")
START_PATIENCE_S = 60.0
# Where a machine has a folder of its own in the place of the test's.
OWN = Path("/mnt")
# Takes in what is left without a parent, as the first process of a machine has to.
FIRST = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"


def why_none() -> str:
    """Why no machines can be made here; nothing where they can."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "machines of the test's own take root on Linux"
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return f"machines of the test's own take {', '.join(missing)}: apt install iproute2 util-linux"
    probe = subprocess.run(
        ["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "ip", "link", "add", "name", "br0",
         "type", "bridge"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f"machines of the test's own cannot be made: {probe.stderr.strip()}" if probe.returncode else ""


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


class Machine:
    """`start`, `kill`, `cut` and `join` as often as needed. What is in its folder stays, as on a disk."""

    def __init__(self, name: str, address: str, network: "Network") -> None:
        self.name = name
        self.address = address
        self._network = network
        self._namespace = f"{network.bridge}-{name}"
        self._link = f"{network.bridge}{name}"
        self.folder = network.folder / name
        self.folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0

    def start(self) -> None:
        """There is no way to elsewhere: who asks for a name there is told so at once, and need not wait."""
        ip("netns", "add", self._namespace)
        ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._namespace)
        ip("link", "set", self._link, "master", self._network.bridge, "up")
        ip("-n", self._namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self._namespace, "link", "set", "eth0", "up")
        ip("-n", self._namespace, "link", "set", "lo", "up")
        begin = (
            f"mount -t proc proc /proc && mount --bind {self.folder} {OWN} && hostname {self.name} "
            f"&& exec {sys.executable} -c '{FIRST}'"
        )
        with (self._network.folder / "machines.log").open("ab") as log:
            self._process = self._unshared(begin, log)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + START_PATIENCE_S
        while not self._has_begun(children):
            assert self._process.poll() is None, f"machine {self.name} could not be made"
            assert time.monotonic() < deadline, f"machine {self.name} does not begin"
            time.sleep(0.02)

    def _unshared(self, begin: str, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self._namespace}", "unshare", "--pid", "--mount", "--uts", "--fork",
             "--kill-child", "--propagation", "private", "sh", "-c", begin],
            stderr=log, preexec_fn=tied.to_this_process(signal.SIGKILL),
        )  # fmt: skip

    def popen(self, *command: str, log: IO[bytes], environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Runs a command there. It ends with the machine, whatever becomes of the process that is returned."""
        return subprocess.Popen(
            self._inside(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, cwd="/"
        )

    def run(self, *command: str, environ: Mapping[str, str], expect: int = 0) -> str:
        """What a command there says; it must end as is expected."""
        done = subprocess.run(self._inside(command), capture_output=True, text=True, check=False, env=environ, cwd="/")
        assert done.returncode == expect, f"{' '.join(command)} on {self.name}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def _inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--target={self._first}", "--net", "--pid", "--mount", "--uts", *command]

    def pids(self, words: str, *without: str) -> list[int]:
        """Of processes there whose command line has these words, and none of the others."""
        lines = self.lines().items()
        return sorted(pid for pid, line in lines if words in line and not any(other in line for other in without))

    def lines(self) -> dict[int, str]:
        """The command lines of all processes there."""
        own = os.readlink(f"/proc/{self._first}/ns/pid")
        found = {}
        for each in Path("/proc").glob("[0-9]*"):
            # Some end meanwhile.
            with contextlib.suppress(OSError):
                if os.readlink(each / "ns/pid") == own:
                    line = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(each.name)] = line
        return found

    def cut(self) -> None:
        """From here on nothing comes to it or from it; connections notice nothing."""
        ip("link", "set", self._link, "down")

    def join(self) -> None:
        """The end of `cut`."""
        ip("link", "set", self._link, "up")

    def kill(self) -> None:
        """Every process of it at once, and its network. Idempotent."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._first or self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process, self._first = None, 0
        # The link goes with it once no process is left, which may take a moment.
        ip("netns", "delete", self._namespace)
        subprocess.run(["ip", "link", "delete", self._link], capture_output=True, check=False)

    def _has_begun(self, children: Path) -> bool:
        """Whether its first process has come so far that commands find everything."""
        with contextlib.suppress(OSError, IndexError):
            first = int(children.read_text().split()[0])
            if FIRST.encode() in Path(f"/proc/{first}/cmdline").read_bytes():
                self._first = first
                return True
        return False


class Network:
    """A bridge, and the machines on it by name. `here` is the test's own address there."""

    def __init__(self, folder: Path) -> None:
        number = os.getpid() % 250
        self.folder = folder
        self.bridge = f"sc{os.getpid()}"
        self._prefix = f"10.211.{number}"
        self.here = f"{self._prefix}.1"
        self.machines: dict[str, Machine] = {}

    def add(self, name: str) -> Machine:
        """A machine that is started."""
        made = Machine(name, f"{self._prefix}.{10 + len(self.machines)}", self)
        self.machines[name] = made
        made.start()
        return made


@contextlib.contextmanager
def network(folder: Path) -> Iterator[Network]:
    """Skips the test, with the reason, where machines cannot be made."""
    if reason := why_none():
        pytest.skip(reason)
    made = Network(folder)
    ip("link", "add", made.bridge, "type", "bridge")
    try:
        ip("address", "add", f"{made.here}/24", "dev", made.bridge)
        ip("link", "set", made.bridge, "up")
        yield made
    finally:
        for machine in made.machines.values():
            machine.kill()
        ip("link", "delete", made.bridge)
