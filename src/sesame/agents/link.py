"""A connection between two processes of one Sesame: messages in order, some with descriptors.

Used by every agent and by the supervisor, on one end of a pair of sockets that has no name, so that nobody else can
connect. The end of either process ends it.
"""

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
import structlog

from sesame.agents.messages import Connections, Message, Peer, Request, ServeInside
from sesame.http.moving import Moved

# Of a frame: the length of what follows, and how many descriptors come with it.
_HEAD_BYTES = 5
_READ_BYTES = 256 * 1024
# The kernel takes up to 253 descriptors with one message.
FDS_READ = 253
# Messages without descriptors leave together, up to so many bytes.
_JOIN_BYTES = 64 * 1024

# So long messages that nobody waits for are gathered: each that leaves by itself wakes another process.
GATHERED_S = 0.005

# Above the largest message: RECORDS_TOGETHER records of `limits.DOCUMENT_BYTES` each.
FRAME_BYTES_MAX = 256 * 1024 * 1024
# What msgspec's decoders raise for bytes that are no message.
GARBLED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# What comes with one descriptor; Connections come with any number of them, and all else with none.
_WITH_ONE = (Peer, ServeInside, Request)

Take = Callable[[Message, list[int]], None]
"""Takes a message and its descriptors, which are the taker's."""

Carry = Callable[[str, Moved], None]
"""Takes a connection to an agent on another machine, where no descriptor goes: at this address, "" for the writer."""

log = structlog.get_logger("sesame.agents")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def framed(message: Message, fds: int) -> bytes:
    """A message as it travels, beside so many descriptors."""
    body = _encode(message)
    return len(body).to_bytes(4, "big") + bytes((fds,)) + body


class Garbled(Exception):
    """What came is no message of an agent's: where the next one begins is not known either."""


def unframed(data: bytearray) -> Iterator[tuple[Message, int]]:
    """The messages that have come completely, each with how many descriptors belong to it; they leave `data`.

    Raises `Garbled`.
    """
    while len(data) >= _HEAD_BYTES:
        if (size := int.from_bytes(data[:4], "big")) > FRAME_BYTES_MAX:
            raise Garbled(f"{size} bytes are announced, expected at most {FRAME_BYTES_MAX}")
        if len(data) < (end := _HEAD_BYTES + size):
            return
        try:
            message, fds = _decode(memoryview(data)[_HEAD_BYTES:end].tobytes()), data[4]
        except GARBLED as error:
            raise Garbled(str(error)) from error
        if not isinstance(message, Connections) and fds != isinstance(message, _WITH_ONE):
            raise Garbled(f"{type(message).__name__} names {fds} descriptors")
        del data[:end]
        yield message, fds


def with_own(received: Iterable[tuple[Message, int]], fds: deque[int]) -> Iterator[tuple[Message, list[int]]]:
    """Each message with its descriptors, which leave `fds`. Raises `Garbled`."""
    for message, count in received:
        if count > len(fds):
            raise Garbled(f"{type(message).__name__} names {count} descriptors, and {len(fds)} came")
        yield message, [fds.popleft() for _ in range(count)]


class Link:
    """Belongs to the event loop that is running. `take` is called for each message, `lost` once at the end."""

    def __init__(self, connected: socket.socket, take: Take, lost: Callable[[], None]) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._take = take
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._unread = bytearray()
        self._fds: deque[int] = deque()
        self._outgoing: deque[tuple[bytes, Sequence[int]]] = deque()
        self.waiting_bytes = 0
        self._flushing = self._blocked = False
        self._gathering: asyncio.TimerHandle | None = None
        self.open = True
        self._loop.add_reader(connected.fileno(), self._read)

    def send(self, message: Message, fds: Sequence[int] = (), *, soon: bool = True) -> None:
        """Leaves in this turn of the event loop, or within GATHERED_S together with others: always in order.

        The descriptors are closed here once they have left, or cannot. Nothing happens on a link that has ended.
        """
        if not self.open:
            _close_all(fds)
            return
        frame = framed(message, len(fds))
        self._outgoing.append((frame, fds))
        self.waiting_bytes += len(frame)
        if self._flushing or self._blocked:
            return
        if not soon:
            if self._gathering is None:
                self._gathering = self._loop.call_later(GATHERED_S, self._flush)
        else:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def given_to(self, take: Take, lost: Callable[[], None], messages: Iterable[Message]) -> None:
        """Another takes what comes from here on, and first these `messages`, which have come before."""
        self._take, self._lost = take, lost
        for message in messages:
            self._hand(message, [])

    def close(self) -> None:
        """Idempotent; `lost` is called."""
        if self.open and self._outgoing:
            # As much as the kernel takes.
            self._flush()
        if not self.open:
            return
        self.open = False
        if self._gathering is not None:
            self._gathering.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        _close_all(self._fds)
        for _frame, fds in self._outgoing:
            _close_all(fds)
        self._outgoing.clear()
        self.waiting_bytes = 0
        self._lost()

    def _flush(self) -> None:
        self._flushing = False
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        while self._outgoing and self.open:
            frame, fds = self._next()
            try:
                sent = socket.send_fds(self._socket, [frame], list(fds)) if fds else self._socket.send(frame)
            except (BlockingIOError, InterruptedError):
                sent = -1
            except OSError:
                _close_all(fds)
                self.close()
                return
            if sent >= 0:
                _close_all(fds)
                self.waiting_bytes -= sent
            if sent != len(frame):
                rest = (frame, fds) if sent < 0 else (frame[sent:], ())
                self._outgoing.appendleft(rest)
                if not self._blocked:
                    self._blocked = True
                    self._loop.add_writer(self._socket.fileno(), self._go_on)
                return

    def _next(self) -> tuple[bytes, Sequence[int]]:
        frame, fds = self._outgoing.popleft()
        if fds or not self._outgoing:
            return frame, fds
        joined, size = [frame], len(frame)
        while self._outgoing and not self._outgoing[0][1] and size < _JOIN_BYTES:
            joined.append(self._outgoing.popleft()[0])
            size += len(joined[-1])
        return b"".join(joined), ()

    def _go_on(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        self._blocked = False
        self._flush()

    def _read(self) -> None:
        try:
            data, fds, _flags, _address = socket.recv_fds(self._socket, _READ_BYTES, FDS_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, fds = b"", []
        self._fds.extend(fds)
        if not data:
            self.close()
            return
        self._unread += data
        try:
            self._take_all()
        except Garbled as garbled:
            # As if the other process had ended: nothing that it says can be read any more.
            log.error("another agent sent what is no message", why=str(garbled))
            self.close()

    def _take_all(self) -> None:
        for message, fds in with_own(unframed(self._unread), self._fds):
            self._hand(message, fds)
            if not self.open:
                return

    def _hand(self, message: Message, fds: list[int]) -> None:
        try:
            self._take(message, fds)
        except Exception:
            # What one message asks for must not end what all others are about.
            log.exception("a message of another agent failed", kind=type(message).__name__)


def _close_all(fds: Sequence[int] | deque[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a new connection, each for a process of its own."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
