"""A real Ray on machines of the tests' own: a head that runs nothing else, and a Ray on each of the others.

Used by the tests of clusters. Every process has Ray's token; statistics are off, and what Ray keeps is small.
"""

import os
import secrets
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from tests.support.machines import OWN, Machine

PORT = 6399
# Four machines start at once on two processors that others use as well.
START_PATIENCE_S = 400.0
OBJECT_STORE_BYTES = 80_000_000
RAY = Path(sysconfig.get_path("scripts"), "ray")
PYTHON = sys.executable
STARTED = "Ray runtime started"


class Ray:
    """`start` on the head first. A machine that was killed and started again is started again here too."""

    def __init__(self, folder: Path, head: Machine) -> None:
        self.head = head
        self.address = f"{head.address}:{PORT}"
        self._folder = folder
        left = ("RAY_", "PYTEST_", "PYTHONDONTWRITEBYTECODE")
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(left)},
            # Each of its many processes would compile all that it imports.
            "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", str(Path(sys.prefix) / "bytecode")),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ADDRESS": self.address,
            # Else what it starts has to wait for everything else on the machine.
            "RAY_worker_niceness": "0",
            # Else a machine ends its Ray, and what runs by it, when the head has been away for a minute.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
        }

    def start(self, *machines: Machine) -> None:
        """On all of them at once; on return Ray runs on each."""
        began = {machine.name: self._begin(machine) for machine in machines}
        deadline = time.monotonic() + START_PATIENCE_S
        for machine in machines:
            while STARTED not in self.said(machine):
                assert time.monotonic() < deadline, f"Ray does not start on {machine.name}: {self.said(machine)}"
                # It gives its own parts 15 s to begin, which is little on a machine that others use as well.
                if began[machine.name].poll() is not None:
                    began[machine.name] = self._begin(machine)
                time.sleep(0.1)

    def raylet(self, machine: Machine) -> int:
        """The process that stands for the machine in Ray."""
        (found,) = machine.pids("/raylet/raylet ")
        return found

    def said(self, machine: Machine) -> str:
        return self._log(machine).read_text(errors="replace")[-4000:]

    def python(self, machine: Machine, code: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Runs a program of the test's there. What it says is in its log, by the machine's name."""
        with (self._folder / f"program-{machine.name}.log").open("ab") as log:
            command = (PYTHON, "-c", code, *arguments)
            return machine.popen(*command, log=log, environ=self.environ)

    def _begin(self, machine: Machine) -> "subprocess.Popen[bytes]":
        for left in machine.pids("site-packages/ray/"):
            os.kill(left, signal.SIGKILL)
        with self._log(machine).open("wb") as log:
            return machine.popen(*self._command(machine), log=log, environ=self.environ)

    def _log(self, machine: Machine) -> Path:
        return self._folder / f"ray-{machine.name}.log"

    def _command(self, machine: Machine) -> tuple[str, ...]:
        common = (
            str(RAY), "start", "--block", "--disable-usage-stats", "--include-log-monitor=false",
            f"--node-ip-address={machine.address}", f"--object-store-memory={OBJECT_STORE_BYTES}",
        )  # fmt: skip
        if machine is self.head:
            own = (
                f"--port={PORT}",
                "--num-cpus=0",
                "--no-monitor",
                "--include-dashboard=false",
                f"--temp-dir={OWN / 'ray'}",
            )
            return (*common, "--head", *own)
        return (*common, f"--address={self.address}", "--num-cpus=1")
