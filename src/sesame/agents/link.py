"""A connection between two processes of one Sesame that carries messages in order, some with file descriptors.

Used by every agent, on one end of an unnamed pair of sockets, so that no other process can connect. The supervisor
uses the framing without an event loop (`supervised`). A link ends when either process ends.
"""

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
import structlog

from sesame.agents.messages import Connections, Message, Peer, ReachObjects, Request, ServeInside
from sesame.http.moving import Moved

# A frame's head: the length of the message (4 bytes, big-endian) and the number of descriptors (1 byte).
_HEAD_BYTES = 5
_READ_BYTES = 256 * 1024
# The kernel passes at most 253 descriptors with one message (SCM_MAX_FD).
FDS_READ = 253
# Messages without descriptors are joined into one write, up to about this many bytes.
_JOIN_BYTES = 64 * 1024

# How long messages that nobody waits for are collected before they are sent together: each write wakes a process.
GATHERED_S = 0.005

# Larger than the largest message, which has RECORDS_TOGETHER records of `limits.DOCUMENT_BYTES` each.
FRAME_BYTES_MAX = 256 * 1024 * 1024
# The errors that msgspec's decoders raise for invalid bytes.
GARBLED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Messages with exactly one descriptor. `Connections` has any number; all other messages have none.
_WITH_ONE = (Peer, ServeInside, ReachObjects, Request)

Take = Callable[[Message, list[int]], None]
"""Receives a message and its descriptors. The receiver removes those that it keeps; the link closes the others."""

Carry = Callable[[str, Moved], None]
"""Moves a connection to an agent on another machine, given its address or "" for the writer.

Descriptors cannot be sent to another machine.
"""

log = structlog.get_logger("sesame.agents")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def framed(message: Message, fds: int) -> bytes:
    """Encodes a message as a frame that is sent with `fds` descriptors."""
    body = _encode(message)
    return len(body).to_bytes(4, "big") + bytes((fds,)) + body


class Garbled(Exception):
    """The received bytes are not a valid message. The link is unusable, as the next frame's start is unknown."""


def unframed(data: bytearray) -> Iterator[tuple[Message, int]]:
    """Removes complete messages from `data` and yields each with its number of descriptors. Raises `Garbled`."""
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
    """Yields each message with its descriptors, which are removed from `fds`. Raises `Garbled` if too few came."""
    for message, count in received:
        if count > len(fds):
            raise Garbled(f"{type(message).__name__} names {count} descriptors, and {len(fds)} came")
        yield message, [fds.popleft() for _ in range(count)]


class Link:
    """One end of a connection, used in the running event loop.

    `take` is called for each message, `lost` once when the link ends, be it by `close`. `waiting_bytes` is the size of
    the messages that the kernel has not accepted yet.
    """

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
        """Queues a message. Messages are always sent in order.

        It is sent in the next turn of the event loop or, without `soon`, within GATHERED_S together with others. The
        link closes `fds` after sending them, or if they cannot be sent. On a link that has ended, nothing is sent.
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
        """Replaces the callbacks. `take` first gets `messages`, which were received earlier."""
        self._take, self._lost = take, lost
        for message in messages:
            self._hand(message, [])

    def close(self) -> None:
        """Sends what the kernel accepts at once, closes the socket and calls `lost`. Idempotent."""
        if self.open and self._outgoing:
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
            # Treat it as if the other process had ended: nothing it sends can be decoded any more.
            log.error("received an invalid message from another agent; the link is closed", why=str(garbled))
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
            # A failure of one message must not end the link.
            log.exception("a message of another agent failed", kind=type(message).__name__)
        finally:
            _close_all(fds)


def taken(fds: list[int]) -> socket.socket:
    """Removes the first descriptor and returns its socket. Raises `OSError` if it is none; it is not removed then."""
    made = socket.socket(fileno=fds[0])
    del fds[0]
    return made


def _close_all(fds: Sequence[int] | deque[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def pair() -> tuple[socket.socket, socket.socket]:
    """Creates a connected pair of sockets, one for each of two processes."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


class EarlyLink(msgspec.Struct, frozen=True):
    """The link of a follower that connected before there was a writer, with the messages received since."""

    link: Link
    messages: tuple[Message, ...]
