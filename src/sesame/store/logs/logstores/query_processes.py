"""Starts the processes that answer queries, lends each to one query at a time, and ends those that exceed limits.

Used by `queries`, on threads: waiting blocks. The process itself is `query_process`.
"""

import contextlib
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import msgspec

from sesame.own_files import OWN_FILES
from sesame.store.logs.logstores.query_protocol import (
    Answer,
    Ask,
    Failed,
    Interrupt,
    Place,
    Question,
    receive,
    send,
)

# Other queries wait for a process, within their deadlines.
PROCESSES_MAX = 2
# A process that has closed its socket but runs for this long is killed.
ENDS_WITHIN_S = 5.0
COMMAND = (sys.executable, "-P", "-m", "sesame.store.logs.logstores.query_process")
_decode = msgspec.msgpack.Decoder(Answer).decode


class QueryProcessEnded(Exception):
    """The process ended before it had answered; the text says how."""


class QueryProcess:
    """One thread at a time calls `ask`; any thread may call `interrupt` and `kill`, and neither blocks."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        """Appends the number of the socket's descriptor to the command."""
        OWN_FILES.warn("a query process")
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # So that the terminal's Ctrl-C does not reach it.
                process_group=0,
            )
        self._sock = ours
        self._fd = ours.fileno()
        self._number = 0
        self._answered = False
        self._sending = threading.Lock()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether its end of the socket is open, which an ending process closes first."""
        return not self._hung_up(0) and self._child.poll() is None

    @property
    def has_answered(self) -> bool:
        return self._answered

    def wait(self) -> None:
        """Returns when the process has ended, or is ending."""
        self._hung_up(None)

    def ask(self, place: Place, question: Question) -> Answer:
        """Raises `QueryProcessEnded`. A process that failed is killed, because its state is unknown."""
        self._number += 1
        try:
            with self._sending:
                send(self._sock, Ask(self._number, place, question))
            message = receive(self._sock)
        except OSError as error:
            raise QueryProcessEnded(self._death()) from error
        if message is None:
            raise QueryProcessEnded(self._death())
        answer = _decode(message)
        self._answered = True
        if isinstance(answer.said, Failed):
            self.kill()
        return answer

    def interrupt(self) -> None:
        """Ends the current question soon, with what was found so far or a refusal."""
        if not self._sending.acquire(blocking=False):
            # The process does not even read its question.
            self.kill()
            return
        try:
            with contextlib.suppress(OSError):
                send(self._sock, Interrupt(self._number))
        finally:
            self._sending.release()

    def kill(self) -> None:
        self._child.kill()

    def close(self) -> None:
        """On return it has ended."""
        self._child.kill()
        self._child.wait()
        # Last: other threads wait for its end at this socket.
        self._sock.close()

    def _hung_up(self, timeout_ms: float | None) -> bool:
        poll = select.poll()
        # No event is requested: the end is reported nevertheless, and answers are not. A closed descriptor, which the
        # socket no longer has, is reported too.
        poll.register(self._fd, 0)
        return bool(poll.poll(timeout_ms))

    def _death(self) -> str:
        """How it ended. Its end of the socket closes a moment before."""
        try:
            code = self._child.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        return (signal.Signals(-code).name if code < 0 else f"exit status {code}") + OWN_FILES.hint


class QueryProcesses:
    """At most PROCESSES_MAX, each started when it is needed or just before. Several threads may use it at a time."""

    def __init__(self, start: Callable[[], QueryProcess] = QueryProcess) -> None:
        self._start = start
        self._free = threading.Condition()
        self._idle: list[QueryProcess] = []
        self._lent: set[QueryProcess] = set()
        self._ahead = False
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Of all processes."""
        with self._free:
            return [process.pid for process in (*self._idle, *self._lent)]

    def keep_ready(self) -> None:
        """From now on there is always one process, or one is being loaded."""
        self._ahead = True
        self._start_ahead()

    def take(self) -> QueryProcess:
        """An idle process, or a new one; pass it to `give_back` afterwards."""
        with self._free:
            while len(self._lent) >= PROCESSES_MAX:
                self._free.wait()
            process = self._pop() or self._started()
            self._lent.add(process)
            return process

    def give_back(self, process: QueryProcess) -> None:
        with self._free:
            self._lent.discard(process)
            if process.is_alive and not self._closed:
                self._idle.append(process)
            else:
                process.close()
            self._free.notify()
        self._start_ahead()

    def close(self) -> None:
        """Call it when no question is open, or after they were killed."""
        with self._free:
            self._closed = True
            for process in self._idle:
                process.close()
            self._idle = []

    def _start_ahead(self) -> None:
        with self._free:
            if self._ahead and not self._closed and not self._idle and not self._lent:
                self._idle.append(self._started())

    def _started(self) -> QueryProcess:
        process = self._start()
        threading.Thread(target=self._watch, args=(process,), name="log-query-watch", daemon=True).start()
        return process

    def _watch(self, process: QueryProcess) -> None:
        """Runs on a thread. Replaces a process that dies while idle, unless it never worked."""
        process.wait()
        with self._free:
            was_idle = process in self._idle
            if was_idle:
                self._idle.remove(process)
                process.close()
        if was_idle and process.has_answered:
            self._start_ahead()

    def _pop(self) -> QueryProcess | None:
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                return process
            process.close()
        return None
