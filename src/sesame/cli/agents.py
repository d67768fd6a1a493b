"""`sesame start --agents N`: runs a supervisor of several agents.

Called by `cli.start`, which also implements an agent's life.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import msgspec

from sesame import _agents, _follower  # noqa: F401 - agents are forked from here, and find them imported
from sesame._listening import addresses
from sesame.agents.succession import Kept
from sesame.agents.supervisor import Supervisor, Wanted
from sesame.agents.this_agent import ThisAgent
from sesame.cli import output, restarting
from sesame.http.handover import Handover
from sesame.http.listener import listening_socket
from sesame.model.errors import ConfigurationError
from sesame.settings import Settings
from sesame.timed_programs import kill_group


def count(settings: Settings) -> int:
    """The number of agents requested; `auto` is one for each available CPU."""
    if settings.agents != "auto":
        return int(settings.agents)
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def supervise(settings: Settings, run: Callable[[ThisAgent], int], handover: Handover | None) -> int:
    """Runs the agents until they end; returns the exit code. Raises `ConfigurationError` if an address is unavailable.

    `handover` may hold what a Sesame with one agent left; None means that this process cannot restart its program.
    """
    step_down(settings)
    kept = received()
    if kept is not None:
        handover = Handover(kept.handed)
    sockets, waiting = listening(settings, handover or Handover())
    anew = None if handover is None else Anew()
    return Supervisor(Wanted(count(settings), sockets, run, waiting=waiting, anew=anew, kept=kept), output.note).run()


def listening(settings: Settings, handover: Handover) -> tuple[dict[str, socket.socket], dict[str, tuple[int, ...]]]:
    """The listening sockets, and the connections handed over, by endpoint.

    Raises `ConfigurationError` if an address is unavailable.
    """
    found: dict[str, socket.socket] = {}
    waiting: dict[str, tuple[int, ...]] = {}
    for each in addresses(settings):
        if (handed := handover.take(each.name)) is not None:
            found[each.name], waiting[each.name] = socket.socket(fileno=handed.listening), handed.connections
            continue
        handover.make_room(each.port)
        try:
            found[each.name] = listening_socket(each.host, each.port)
        except ConfigurationError as error:
            raise ConfigurationError(f"{each.asked}: {error}") from error
    handover.close_unused()
    return found, waiting


def received() -> Kept | None:
    """What the previous supervisor in this process left; None if there was none."""
    pid, _, fd = os.environ.pop(restarting.AGENTS_KEPT, "").partition(":")
    if pid != str(os.getpid()):
        return None
    kept = msgspec.json.decode(restarting.read(int(fd)), type=Kept)
    for each in kept.descriptors():
        os.set_inheritable(each, False)
    return kept


class Anew:
    """An `agents.succession.Anew` that restarts the program by `exec`, like a Sesame with one agent."""

    def attempt(self) -> "Trial":
        return Trial()

    def begin(self, kept: Kept) -> str:
        return restarting.begin(restarting.AGENTS_KEPT, msgspec.json.encode(kept), kept.descriptors())


class Trial:
    """An `agents.succession.Trial`."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._until = time.monotonic() + restarting.TRIAL_TIMEOUT_S
        self._process: subprocess.Popen[bytes] | None = None
        self._not_started = ""
        try:
            self._process = subprocess.Popen(
                restarting.trial(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said,
                process_group=0,
            )  # fmt: skip
        except OSError as error:
            self._not_started = restarting.not_started(error)

    def problem(self) -> str | None:
        if self._process is None:
            self.close()
            return self._not_started
        code, late = self._process.poll(), time.monotonic() >= self._until
        if code is None and not late:
            return None
        self._said.seek(0)
        problem = restarting.LATE if code is None else restarting.problem(code, self._said.read())
        self.close()
        return problem

    def close(self) -> None:
        if self._process is not None:
            if self._process.returncode is None:
                kill_group(self._process.pid)
            self._process.wait()
        self._said.close()


def step_down(settings: Settings) -> None:
    """Moves out of the control group, while it holds no other process, so that the agents' instances can use it."""
    if settings.sandbox != "plain" and sys.platform == "linux":
        from sesame.sandbox.jail.sweep import hierarchies

        hierarchies()
