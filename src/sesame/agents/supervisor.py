"""Starts the agents of one machine, introduces them to each other, starts again what dies, ends them together.

Run by `sesame start --agents N`. Has the listening sockets, so that a connection waits while an agent is started again;
serves nothing itself. Agents are forked from it, with all that they need imported, so that one is back in half a
second; so it has neither threads nor an event loop.
"""

import contextlib
import ctypes
import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType

import msgspec
import structlog

from sesame.agents import messages as m
from sesame.agents.link import framed, pair, unframed
from sesame.agents.place import LivesUntil, Place, Told
from sesame.agents.policies import WRITER

# POLICY: an agent that ends is started again at once; one that was not ready yet, after 0.5 s, 1 s, … up to 30 s.
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
# Agents that are apart are looked after so often: until when each may be alive.
LOOKS_EVERY_S = 0.1
# As a shell counts a process that SIGINT ended.
EXIT_STOPPED_AT_ONCE = 130
# From linux/prctl.h.
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15

log = structlog.get_logger("sesame.agents")


class Wanted(msgspec.Struct, frozen=True):
    """`run` is an agent's whole life, in its own process, and gives its exit code.

    `listening` by the names that `_endpoints` has for the addresses, that of Function Compute first. Agents that are
    `apart` find each other by themselves, and each has all that listens.
    """

    agents: int
    listening: Mapping[str, socket.socket]
    run: Callable[[Place], int]
    apart: bool = False


class _Agent:
    """One agent, and its process if there is one."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.link: socket.socket | None = None
        # Whether it has been introduced to a writer, and so may hold instances.
        self.held = False
        self.ready = False
        self.failures = 0
        self.unread = bytearray()
        self.due_at: float | None = 0.0


class Supervisor:
    """`run` once: it returns when every agent has ended."""

    def __init__(self, wanted: Wanted, note: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._note = note
        self._agents = [_Agent(number) for number in range(1, wanted.agents + 1)]
        self._writer = self._agents[WRITER - 1]
        self._stops = self._began = self._told_ready = False
        self._code = 0
        # One that is stopped does not end by itself.
        self._lives = LivesUntil(wanted.agents)
        self._selector = selectors.DefaultSelector()
        self._wakes, self._woken = os.pipe()

    def run(self) -> int:
        """The exit code. SIGTERM and SIGINT end all agents in peace; a second one ends them at once."""
        for fd in (self._wakes, self._woken):
            os.set_blocking(fd, False)
        self._selector.register(self._wakes, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._woken)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        # What is there is shared with the agents, and never searched for garbage.
        gc.collect()
        gc.freeze()
        while True:
            self._start_due()
            if self._stops and not any(agent.pid for agent in self._agents):
                return self._code
            self._wait()
            self._kill_overdue()
            self._reap()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._stops and not self._code:
            self._note("Stopped at once.")
            self._code = EXIT_STOPPED_AT_ONCE
            for agent in self._agents:
                if agent.pid:
                    os.kill(agent.pid, signal.SIGKILL)
        self._stop()

    def _stop(self) -> None:
        self._stops = True
        # Agents have closed theirs in a moment; then nobody can connect.
        for each in self._wanted.listening.values():
            each.close()
        for agent in self._agents:
            agent.due_at = None
            if agent.link is not None:
                _send(agent.link, m.Stop())

    def _wait(self) -> None:
        due = [agent.due_at for agent in self._agents if agent.due_at is not None]
        within_s = max(min(due) - time.monotonic(), 0.0) if due else None
        if self._wanted.apart:
            within_s = LOOKS_EVERY_S if within_s is None else min(within_s, LOOKS_EVERY_S)
        for key, _events in self._selector.select(within_s):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakes, 4096)
            else:
                self._hear(key.data)

    def _hear(self, agent: _Agent) -> None:
        """The end of its link says that it ends."""
        if agent.link is None:
            return
        try:
            data = agent.link.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(agent.link)
            agent.link.close()
            agent.link = None
            return
        agent.unread += data
        for message, _fds in unframed(agent.unread):
            match message:
                case m.Ready():
                    self._is_ready(agent)
                case m.Hangs():
                    self._kill(message.agent)
                case _:
                    raise AssertionError(f"agent {agent.number} sent {type(message).__name__}")

    def _kill_overdue(self) -> None:
        for agent in self._agents:
            if 0 < self._lives.of(agent.number) <= time.monotonic():
                self._kill(agent.number)

    def _kill(self, number: int) -> None:
        pid = self._agents[number - 1].pid
        if pid:
            self._note(f"Agent {number} does not answer: it is killed.")
            os.kill(pid, signal.SIGKILL)
        self._lives.set(number, 0.0)

    def _is_ready(self, agent: _Agent) -> None:
        agent.ready, agent.failures = True, 0
        self._began = self._began or agent is self._writer
        if not self._told_ready and all(each.ready for each in self._agents):
            self._told_ready = True
            self._note("This node serves." if self._wanted.apart else f"{len(self._agents)} agents serve.")

    def _reap(self) -> None:
        for agent in self._agents:
            if not agent.pid:
                continue
            pid, status = os.waitpid(agent.pid, os.WNOHANG)
            if pid:
                self._ended(agent, os.waitstatus_to_exitcode(status))

    def _ended(self, agent: _Agent, code: int) -> None:
        was_ready, agent.pid, agent.ready, agent.held = agent.ready, 0, False, False
        self._lives.set(agent.number, 0.0)
        if agent.link is not None:
            self._selector.unregister(agent.link)
            agent.link.close()
            agent.link = None
        if self._stops:
            self._code = self._code or max(code, 0)
            return
        if agent is self._writer and not self._began:
            # It has said itself why it cannot start.
            self._code = code if code > 0 else 1
            self._stop()
            return
        agent.failures += not was_ready
        wait_s = min(BACKOFF_FIRST_S * 2.0 ** (agent.failures - 1), BACKOFF_MAX_S) if agent.failures else 0.0
        agent.due_at = time.monotonic() + wait_s
        self._note(f"Agent {agent.number} has ended ({_how(code)}): it is started again.")

    def _start_due(self) -> None:
        for agent in self._agents:
            if agent.due_at is not None and agent.due_at <= time.monotonic():
                agent.due_at = None
                self._start(agent)

    def _start(self, agent: _Agent) -> None:
        ours, theirs = pair()
        listening = dict(self._wanted.listening)
        if agent is not self._writer and not self._wanted.apart:
            name = next(iter(listening))
            listening = {name: listening[name]}
        held = tuple(each.number for each in self._agents if each.held) if agent is self._writer else ()
        supervisor = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        agent.unread.clear()
        agent.pid = os.fork()
        if not agent.pid:
            fds = {name: os.dup(each.fileno()) for name, each in listening.items()}
            self._be(Told(agent.number, len(self._agents), supervisor, theirs.detach(), fds, held, self._lives))
        theirs.close()
        agent.link = ours
        self._selector.register(ours, selectors.EVENT_READ, agent)
        self._introduce(agent)

    def _be(self, told: Told) -> None:
        """In the agent's process, which ends here."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            _end_with_parent()
            _be_named(f"sesame-agent-{told.agent}")
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            # So that Ctrl-C comes to the supervisor alone.
            os.setpgid(0, 0)
            self._selector.close()
            for fd in (self._wakes, self._woken):
                os.close(fd)
            for agent in self._agents:
                if agent.link is not None:
                    agent.link.close()
            for each in self._wanted.listening.values():
                each.close()
            nowhere = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nowhere, 0)
            os.close(nowhere)
            code = self._wanted.run(Place(told))
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _introduce(self, agent: _Agent) -> None:
        """A new agent to the writer, or the new writer to all."""
        writer = self._writer.link
        if writer is None or self._wanted.apart:
            return
        followers = [each for each in self._agents if each is not self._writer and each.link is not None]
        for follower in followers if agent is self._writer else [agent]:
            assert follower.link is not None
            to_writer, to_follower = pair()
            with to_writer, to_follower:
                _send(writer, m.Peer(follower.number, follower.held), to_follower.fileno())
                _send(follower.link, m.Peer(WRITER), to_writer.fileno())
            follower.held = True


def _send(link: socket.socket, message: m.Message, *fds: int) -> None:
    # One that has just ended is heard of in a moment.
    with contextlib.suppress(OSError):
        socket.send_fds(link, [framed(message, len(fds))], list(fds))


def _end_with_parent() -> None:
    """Has the kernel kill this process when its parent ends; elsewhere, the end of its link tells it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _be_named(name: str) -> None:
    """As operators see it in `ps` and `top`, where the kernel keeps a name for each thread."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
