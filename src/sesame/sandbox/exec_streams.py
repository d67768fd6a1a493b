"""The host's ends of a command's input and output: pipes, or a terminal.

Used by `jail.exec` and `process.exec`, which start the command at the other ends. Never reads ahead: unread output
stays in the kernel's buffer, which blocks the command.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import pty
import struct
import termios
from collections.abc import Callable
from typing import Protocol

from sesame.model.command import Command
from sesame.sandbox.interface import SandboxDied, SandboxStartFailed

STDOUT, STDERR = 1, 2
PIECE_BYTES = 32 * 1024
# Output that a terminal received before its end may become readable only a moment later.
TERMINAL_GRACE_S = 0.5
_SIZE = struct.Struct("@4H")
SIZE_MAX = 0xFFFF


class Streams:
    """The streams of one command. Until `started`, `lent` are the command's ends of stdin, stdout and stderr."""

    def __init__(self, command: Command) -> None:
        """Raises `SandboxStartFailed` if this process has too few descriptors left."""
        self._outputs: dict[int, int] = {}
        self._exited = False
        self._waiting: asyncio.Future[None] | None = None
        if command.tty:
            ((ours, theirs),) = _pairs(pty.openpty, 1)
            self._input = self._terminal = ours
            self._outputs = {STDOUT: ours}
            self.lent: tuple[int, int, int] = (theirs, theirs, theirs)
        else:
            self._terminal = -1
            (theirs, self._input), (reading, out), (reading_errors, errors) = _pairs(os.pipe, 3)
            self._outputs = {STDOUT: reading, STDERR: reading_errors}
            self.lent = (theirs, out, errors)
            if not command.stdin:
                self.end_input()
        for fd in {self._input, *self._outputs.values()} - {-1}:
            os.set_blocking(fd, False)

    def started(self) -> None:
        """Closes the command's ends in this process: the command has them now, or was not started."""
        for fd in set(self.lent):
            os.close(fd)
        self.lent = (-1, -1, -1)

    def exited(self) -> None:
        """The command's last process has ended: only what is readable now remains."""
        if not self._exited:
            self._exited = True
            if self._terminal >= 0:
                asyncio.get_running_loop().call_later(TERMINAL_GRACE_S, self._wake)
            else:
                self._wake()

    async def read(self) -> tuple[int, bytes] | None:
        """See `Execution.read`. Only one reader at a time."""
        patience = TERMINAL_GRACE_S if self._terminal >= 0 else 0.0
        while self._outputs:
            ended = self._exited
            for number, fd in list(self._outputs.items()):
                piece = _read(fd)
                if piece:
                    # Alternate between the streams.
                    self._outputs[number] = self._outputs.pop(number)
                    return number, piece
                if piece is not None:
                    self._end_output(number)
            if ended and self._outputs:
                if patience <= 0:
                    # The other end is still open in another process of the instance, which is not part of the command.
                    return None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._readable(), patience)
                patience = 0.0
            elif self._outputs:
                await self._readable()
        return None

    async def write(self, data: bytes) -> None:
        """See `Execution.write`. Only one writer at a time."""
        loop = asyncio.get_running_loop()
        while data and self._input >= 0:
            try:
                data = data[os.write(self._input, data) :]
            except BlockingIOError:
                fd, writable = self._input, loop.create_future()
                loop.add_writer(fd, _resolve, writable)
                try:
                    await writable
                finally:
                    loop.remove_writer(fd)
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.EIO):
                    raise
                self.end_input()
                return

    def end_input(self) -> None:
        if self._input >= 0 and self._terminal < 0:
            asyncio.get_running_loop().remove_writer(self._input)
            os.close(self._input)
        self._input = -1

    def resize(self, columns: int, rows: int) -> None:
        if self._terminal >= 0:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, _SIZE.pack(rows, columns, 0, 0))

    def close(self) -> None:
        """On return all descriptors are closed; a waiting reader gets None."""
        if self.lent[0] >= 0:
            self.started()
        self.end_input()
        loop = asyncio.get_running_loop()
        for fd in set(self._outputs.values()):
            loop.remove_reader(fd)
            loop.remove_writer(fd)
        for fd in {*self._outputs.values(), self._terminal} - {-1}:
            os.close(fd)
        self._outputs.clear()
        self._terminal = -1
        self._wake()

    def _end_output(self, number: int) -> None:
        fd = self._outputs.pop(number)
        if fd != self._terminal:
            os.close(fd)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        watched = list(self._outputs.values())
        for fd in watched:
            loop.add_reader(fd, self._wake)
        try:
            await self._waiting
        finally:
            for fd in watched:
                if fd in self._outputs.values():
                    loop.remove_reader(fd)

    def _wake(self) -> None:
        if self._waiting is not None:
            _resolve(self._waiting)


def _pairs(make: Callable[[], tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """All of them, or none."""
    made: list[tuple[int, int]] = []
    try:
        for _ in range(count):
            made.append(make())
    except OSError as error:
        for fd in (fd for pair in made for fd in pair):
            os.close(fd)
        raise SandboxStartFailed(f"a command gets no input and output: {error}") from error
    return made


def _read(fd: int) -> bytes | None:
    """A piece of output; b"" at the end; None if nothing can be read yet."""
    try:
        return os.read(fd, PIECE_BYTES)
    except BlockingIOError:
        return None
    except OSError as error:
        # A terminal without a process at its other end.
        if error.errno != errno.EIO:
            raise
        return b""


def _resolve(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


class CommandExecution:
    """Implements `Execution` over streams and the session that ends the command's processes."""

    def __init__(self, streams: Streams, session: "Session", on_closed: Callable[[], None]) -> None:
        self._streams = streams
        self._session = session
        self._on_closed = on_closed
        self._closed = False
        session.ended.add_done_callback(lambda _ended: streams.exited())

    async def read(self) -> tuple[int, bytes] | None:
        return await self._streams.read()

    async def write(self, data: bytes) -> None:
        await self._streams.write(data)

    def end_input(self) -> None:
        self._streams.end_input()

    def resize(self, columns: int, rows: int) -> None:
        self._streams.resize(min(columns, SIZE_MAX), min(rows, SIZE_MAX))

    async def wait(self) -> int:
        return await asyncio.shield(self._session.ended)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._session.end()
            self._streams.close()
        await asyncio.wait({self._session.ended})
        self._on_closed()


class Session(Protocol):
    """The processes of one command: `ended` yields the exit code once all have ended, `end` ends them."""

    ended: "asyncio.Future[int]"

    def end(self) -> None: ...


class Sessions:
    """The commands of one instance."""

    def __init__(self) -> None:
        self._running: set[Session] = set()
        self._closed = False

    async def begin(self, streams: Streams, session: Session) -> CommandExecution:
        """Raises `SandboxDied` if the instance began to end before the command was registered."""
        self._running.add(session)
        running = CommandExecution(streams, session, lambda: self._running.discard(session))
        if self._closed:
            await running.close()
            raise SandboxDied("exit", "the instance has ended")
        return running

    def close(self) -> "set[asyncio.Future[int]]":
        """Refuses new commands; returns the futures of the running ones."""
        self._closed = True
        return {session.ended for session in self._running}

    def end(self) -> None:
        for session in list(self._running):
            session.end()
