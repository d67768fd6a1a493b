"""Copies bytes between two connected sockets until both sides have finished sending or one of them breaks.

Created by `tunnels` for each tunnel. Buffers at most PIECE_BYTES for each direction, and only while the receiver does
not accept them; meanwhile it reads nothing more from the sender. The end of one side is passed on as it was: end of
data as end of data, a reset as a reset.
"""

import asyncio
import socket
import struct
from collections.abc import Callable

# How much is copied per turn of the event loop: 42 µs of processor time, including the kernel's (2026-11).
PIECE_BYTES = 64 * 1024
# POLICY: once the answering side has finished, the client has this long, since the last byte, to finish too. The
# answering side has already waited for a client that was still sending (`http.limits.linger_s`).
HALF_CLOSED_S = 15.0
# The value for SO_LINGER, on with a time of 0: closing the socket sends a reset.
_NO_LINGERING = struct.pack("ii", 1, 0)


class _Direction:
    __slots__ = ("ended", "held", "source", "target")

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        # Bytes that the target has not accepted yet. The source is not read meanwhile.
        self.held = memoryview(b"")
        # Whether the source has finished sending and this has been passed on to the target.
        self.ended = False


class Copying:
    """Owns both sockets, which must be non-blocking. `ended` is called once, when both are closed."""

    def __init__(self, near: socket.socket, far: socket.socket, buffer: bytearray, ended: Callable[[], None]) -> None:
        """`near` is the client, `far` the answering side. `buffer` has PIECE_BYTES; one event loop may share it."""
        self._near = near
        self.far = far
        self._buffer = memoryview(buffer)
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._asking, self._answering = _Direction(near, far), _Direction(far, near)
        self._lingering: asyncio.TimerHandle | None = None
        self.open = True
        self.bytes_passed = 0
        # When bytes passed last, by the event loop's clock, and whether the answering side sent the last bytes read.
        self.active_at = self._loop.time()
        self.answered_last = False

    @property
    def held_bytes(self) -> int:
        """How many bytes have been read but not passed on yet."""
        return len(self._asking.held) + len(self._answering.held)

    def start(self, first: bytes = b"") -> None:
        """Starts copying. `first` are bytes that have already been read from the client."""
        self._loop.add_reader(self.far.fileno(), self._read, self._answering)
        if first:
            self._pass(self._asking, memoryview(first), reads=False)
        else:
            self._loop.add_reader(self._near.fileno(), self._read, self._asking)

    def abort(self) -> None:
        """Resets both connections, so that neither side mistakes what it has received for everything. Idempotent."""
        if self.open:
            for each in (self._near, self.far):
                # Fails if the other side has gone already.
                try:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
                except OSError:
                    continue
            self._close()

    def close(self) -> None:
        """Closes both connections. For tunnels without a request in progress. Idempotent."""
        if self.open:
            self._close()

    def _close(self) -> None:
        self.open = False
        if self._lingering is not None:
            self._lingering.cancel()
        for each in (self._near, self.far):
            self._loop.remove_reader(each.fileno())
            self._loop.remove_writer(each.fileno())
            each.close()
        self._asking.held = self._answering.held = memoryview(b"")
        self._ended()

    def _read(self, direction: _Direction) -> None:
        try:
            count = direction.source.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        self.active_at, self.answered_last = self._loop.time(), direction is self._answering
        if count:
            self._pass(direction, self._buffer[:count], reads=True)
        else:
            self._loop.remove_reader(direction.source.fileno())
            self._end(direction)

    def _pass(self, direction: _Direction, piece: memoryview, *, reads: bool) -> None:
        """Sends `piece` to the target. `reads` is whether the event loop watches the source at present."""
        try:
            sent = direction.target.send(piece)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.abort()
            return
        self.bytes_passed += sent
        if sent < len(piece):
            # Copied, because the buffer is reused.
            direction.held = memoryview(bytes(piece[sent:]))
            if reads:
                self._loop.remove_reader(direction.source.fileno())
            self._loop.add_writer(direction.target.fileno(), self._write, direction)
        elif not reads:
            self._loop.add_reader(direction.source.fileno(), self._read, direction)

    def _write(self, direction: _Direction) -> None:
        try:
            sent = direction.target.send(direction.held)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        self.bytes_passed += sent
        self.active_at = self._loop.time()
        direction.held = direction.held[sent:]
        if not direction.held:
            self._loop.remove_writer(direction.target.fileno())
            self._loop.add_reader(direction.source.fileno(), self._read, direction)

    def _end(self, direction: _Direction) -> None:
        """The source has finished. The target has accepted everything, as nothing is read while bytes are held."""
        direction.ended = True
        try:
            direction.target.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()
            return
        if self._asking.ended and self._answering.ended:
            self._close()
        elif direction is self._answering:
            self._linger()

    def _linger(self) -> None:
        left_s = self.active_at + HALF_CLOSED_S - self._loop.time()
        if left_s > 0:
            self._lingering = self._loop.call_later(left_s, self._linger)
        else:
            self._lingering = None
            self.close()
