"""One agent from its supervisor's view: its process, if there is one, and the link to it.

Created by `agents.supervisor`, which has neither threads nor an event loop: nothing here blocks.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import NoReturn

from sesame.agents import messages as m
from sesame.agents.link import FDS_READ, Garbled, framed, unframed, with_own
from sesame.agents.silence import Silence
from sesame.agents.succession import KeptAgent

# POLICY: an agent that is ready is checked once per LOOKS_EVERY_S. One that leaves more than LOOKS_MAX checks in a row
# unanswered is killed: its event loop has been blocked for ten seconds, and all its callers wait.
LOOKS_EVERY_S = 1.0
LOOKS_MAX = 10
# With agents that are apart, how often the times until which each may live are checked.
APART_LOOKS_EVERY_S = 0.1
STOPPED_BY = (signal.SIGTERM, signal.SIGINT)
# What `sesame restart` sends (`cli.restarting`).
ASKED_BY = signal.SIGUSR2
_READ_BYTES = 64 * 1024
# The messages that agents send to their supervisor.
_HEARD = (m.Ready, m.Here, m.Hangs, m.Connections)
# From linux/prctl.h.
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


class Supervised:
    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.link: socket.socket | None = None
        # Whether the agent has been introduced to a writer and so may hold instances.
        self.held = False
        self.ready = False
        # Whether it was told to end because another process replaces it.
        self.replaced = False
        self.failures = 0
        self.silence = Silence()
        self.due_at: float | None = 0.0
        # Why its messages can no longer be decoded; "" while they can.
        self.garbled = ""
        self._unread = bytearray()
        self._fds: deque[int] = deque()

    @classmethod
    def of(cls, kept: KeptAgent) -> "Supervised":
        """An agent that the previous program of this supervisor started."""
        made = cls(kept.number)
        made.pid, made.held, made.ready = kept.pid, kept.held, kept.ready
        made._unread += kept.unread
        if kept.pid:
            made.due_at = None
        if kept.link >= 0:
            made.link = socket.socket(fileno=kept.link)
            made.link.setblocking(False)
        return made

    def kept(self) -> KeptAgent:
        link = -1 if self.link is None else self.link.fileno()
        return KeptAgent(self.number, self.pid, link, self.held, self.ready, bytes(self._unread))

    def began(self, pid: int, link: socket.socket) -> None:
        self.pid, self.link = pid, link
        self.silence.answered()
        self.ready = self.held = self.replaced = False
        self.garbled = ""
        self._unread.clear()

    def ended(self) -> bool:
        """Its process has ended. Returns whether it had been ready."""
        was_ready, self.pid, self.ready, self.held = self.ready, 0, False, False
        self.disconnect()
        return was_ready

    def disconnect(self) -> None:
        if self.link is not None:
            self.link.close()
            self.link = None
        while self._fds:
            os.close(self._fds.popleft())

    def send(self, message: m.Message, *fds: int) -> bool:
        """Returns False if the message could not be sent: the agent has ended, or hangs and its buffer is full."""
        if self.link is None:
            return False
        with contextlib.suppress(OSError):
            return bool(socket.send_fds(self.link, [framed(message, len(fds))], list(fds)))
        return False

    def hear(self) -> list[tuple[m.Message, list[int]]] | None:
        """The messages received, each with descriptors that the caller must close; None once the link has ended."""
        if self.link is None:
            return None
        try:
            data, fds, _flags, _address = socket.recv_fds(self.link, _READ_BYTES, FDS_READ)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            return None
        self._fds.extend(fds)
        if not data:
            return None
        self._unread += data
        heard: list[tuple[m.Message, list[int]]] = []
        try:
            for message, own in with_own(unframed(self._unread), self._fds):
                if not isinstance(message, _HEARD):
                    self._fds.extend(own)
                    raise Garbled(f"{type(message).__name__} is not for the supervisor")
                heard.append((message, own))
        except Garbled as garbled:
            self.garbled = str(garbled)
        return heard

    def kill(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def look(self) -> bool:
        """Checks whether the agent is alive. Returns False if too many checks in a row were not answered."""
        if not self.ready or self.link is None:
            return True
        if not self.silence.times:
            self.send(m.AreYouThere())
        self.silence.count(self.pid)
        return self.silence.times <= LOOKS_MAX


def sleeps_s(now: float, due: Iterable[float | None], looks_at: float | None) -> float:
    """Seconds until the supervisor must act: `due` are times to start agents, `looks_at` is that of the next check.

    `looks_at` is None if the agents are apart.
    """
    looks_at = now + APART_LOOKS_EVERY_S if looks_at is None else looks_at
    return max(min([looks_at, *(each for each in due if each is not None)]) - now, 0.0)


def live(number: int, let_go: Callable[[], None], run: Callable[[], int]) -> NoReturn:
    """Runs an agent in the process that was just forked from the supervisor. Never returns: ends the process."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        end_with_parent()
        be_named(f"sesame-agent-{number}")
        for each in (*STOPPED_BY, signal.SIGCHLD, ASKED_BY):
            signal.signal(each, signal.SIG_DFL)
        # In a process group of its own, so that Ctrl-C reaches only the supervisor.
        os.setpgid(0, 0)
        let_go()
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.close(nowhere)
        code = run()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def end_with_parent() -> None:
    """On Linux, has the kernel kill this process when its parent ends. Elsewhere the end of the link does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def be_named(name: str) -> None:
    """On Linux, sets the name that `ps` and `top` show for this thread."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def readable(link: socket.socket) -> bool:
    with selectors.DefaultSelector() as looking:
        looking.register(link, selectors.EVENT_READ)
        return bool(looking.select(0))


def how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
