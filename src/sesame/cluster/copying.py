"""Passes bytes between two connected sockets until both sides have said all, or one of them breaks.

Made by `tunnels` for each tunnel. Holds at most PIECE_BYTES for each direction, and only while the other side does not
take them: then nothing more is read. What ends on one side ends on the other in the same way: the end of what is said,
or a reset.
"""

import asyncio
import socket
import struct
from collections.abc import Callable

# What a turn of the event loop passes on: 42 µs of processor time, the kernel's included (2026-11).
PIECE_BYTES = 64 * 1024
# POLICY: once the answering side has said all, the other has so long, since the last byte, to end too. The answering
# side has waited itself for a client that was still sending (`http.limits.linger_s`).
HALF_CLOSED_S = 15.0
# On, and for no time: a reset.
_NO_LINGERING = struct.pack("ii", 1, 0)


class _Direction:
    __slots__ = ("ended", "held", "source", "target")

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        # What the target has not taken yet. The source is not read meanwhile.
        self.held = memoryview(b"")
        # Whether the source says nothing more, and the target has been told so.
        self.ended = False


class Copying:
    """Owns both sockets, which do not block. `ended` is called once, when both are closed."""

    def __init__(self, near: socket.socket, far: socket.socket, buffer: bytearray, ended: Callable[[], None]) -> None:
        """`near` is the client, `far` what answers. `buffer` of PIECE_BYTES may be shared on one event loop."""
        self._near = near
        self.far = far
        self._buffer = memoryview(buffer)
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._asking, self._answering = _Direction(near, far), _Direction(far, near)
        self._lingering: asyncio.TimerHandle | None = None
        self.open = True
        self.bytes_passed = 0
        # When something was read last, by the event loop's clock, and whether the answering side has said it.
        self.active_at = self._loop.time()
        self.answered_last = False

    @property
    def held_bytes(self) -> int:
        """What was read and is not passed on yet."""
        return len(self._asking.held) + len(self._answering.held)

    def start(self, first: bytes = b"") -> None:
        """`first` was read of the client before."""
        self._loop.add_reader(self.far.fileno(), self._read, self._answering)
        if first:
            self._pass(self._asking, memoryview(first), reads=False)
        else:
            self._loop.add_reader(self._near.fileno(), self._read, self._asking)

    def abort(self) -> None:
        """Both sides see a reset: nobody takes what has come so far for all there is. Idempotent."""
        if self.open:
            for each in (self._near, self.far):
                # Refused where the other side has gone already.
                try:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
                except OSError:
                    continue
            self._close()

    def close(self) -> None:
        """For a tunnel on which nothing is under way. Idempotent."""
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
        """`reads` says whether the source is being read."""
        try:
            sent = direction.target.send(piece)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.abort()
            return
        self.bytes_passed += sent
        if sent < len(piece):
            # Not of the buffer, which is filled again.
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
        """The source has said all, and the target has taken it: nothing is read while something is held."""
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
