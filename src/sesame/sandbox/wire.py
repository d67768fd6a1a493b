"""The host's side of the wire protocol (docs/wire-protocol.md): one channel per instance.

Used by the drivers, which create the socket pair and the output pipe and start the process between them. The peer is
not trusted: sizes are checked before memory is allocated, and a protocol violation ends the channel.
"""

import asyncio
import fcntl
import mmap
import os
import socket
import struct
import termios
from array import array
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from sesame.model.errors import StartProblem
from sesame.sandbox.interface import Call, OnOutput, ProgramFailed, Reply, SandboxDied
from sesame.write_batching import WriteBatch, shared

MAX_FRAME_BYTES = 33 * 1024 * 1024
MAX_HEADER_BYTES = 1024 * 1024

_SIZES = struct.Struct(">II")
_READ_BYTES = 64 * 1024
# Header and payload up to this size are joined, to send them with one system call.
_JOIN_BYTES = 64 * 1024
# fcntl's F_GETPIPE_SZ on Linux. If a pipe's capacity cannot be read, the default is assumed.
_F_GETPIPE_SZ = 1032
_PIPE_BYTES = 64 * 1024
_TEXT_CHARS = 4096


class Header(msgspec.Struct, frozen=True):
    """The header of a frame from the shim: `ready`, `result`, or `failed` with `why` and `text`."""

    type: str
    id: str = ""
    ok: bool = False
    http: dict[str, Any] | None = None
    python: str = ""
    trace: str = ""
    why: str = ""
    text: str = ""


# Calls sent in one turn of the loop are usually answered in one turn.
_batch = shared(turns_max=1)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Header).decode


class Channel:
    """One conversation: a setup, then one call at a time, and the output that arrives meanwhile.

    `on_end` is called once, when the peer has closed its end or violated the protocol, during a call or between calls.
    """

    # Whether an answer must name the request. A test disables the check to show what it prevents.
    checks_ids: ClassVar[bool] = True

    def __init__(self, sock: socket.socket, output: "Output", on_end: Callable[[], None]) -> None:
        self._sock = sock
        self._output = output
        self._on_end = on_end
        self._protocol = _Frames(self.on_frame, self._on_lost)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[Header, bytes]] | None = None
        self._ended: SandboxDied | None = None
        # The metadata that was sent last.
        self._meta: Mapping[str, Any] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._batch: WriteBatch

    async def open(self) -> None:
        """Starts reading the socket and the output."""
        loop = self._loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_unix_connection(lambda: self._protocol, sock=self._sock)
        self._batch = _batch()
        self._output.start(loop)

    @property
    def ended(self) -> SandboxDied | None:
        """Why the channel has ended; None while it is open."""
        return self._ended

    async def setup(self, setup: Mapping[str, Any]) -> str:
        """Sends the setup and returns the version of Python that answers.

        Raises `SandboxDied`, and `ProgramFailed` if the shim started a program that did not come up.
        """
        answer = self._ask(_encode({**setup, "type": "setup"}), b"")
        try:
            header, _ = await answer
        finally:
            self._asked()
        if header.type == "failed" and header.why in set(StartProblem):
            raise ProgramFailed(StartProblem(header.why), header.text[:_TEXT_CHARS])
        if header.type != "ready":
            raise self._break(f"expected ready, found {header.type}")
        return header.python

    async def call(self, call: Call) -> Reply:
        """Sends one request and returns its reply, after passing on all output written before the reply.

        Raises `SandboxDied` with reason exit or protocol.
        """
        head: dict[str, Any] = {"type": call.kind, "id": call.request_id}
        if call.meta != self._meta:
            # Most calls have the same metadata as the one before; it is then omitted.
            head["meta"] = self._meta = call.meta
        answer = self._ask(_encode(head), call.payload)
        try:
            header, payload = await answer
        finally:
            self._asked()
        if (header.type != "result" or header.id != call.request_id) and self.checks_ids:
            raise self._break(f"expected the result of {call.request_id}, found {header.type} of {header.id!r}")
        return Reply(header.ok, payload, header.http, header.trace)

    def hang_up(self) -> None:
        """Shuts down the sending half, which tells the shim to log its stacks and exit (watchdog.py)."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def end(self, died: SandboxDied) -> None:
        """Fails the waiting call and every later one with `died`, unless the channel has already ended."""
        self._end(died)

    def close(self) -> None:
        """Passes on what is left in the pipe, then closes socket and pipe. Idempotent."""
        self._end(SandboxDied("killed"))
        self._output.close()
        if self._transport is not None:
            self._transport.abort()
        else:
            self._sock.close()

    def _ask(self, head: bytes, payload: bytes) -> "asyncio.Future[tuple[Header, bytes]]":
        """Sends a frame. The caller awaits the answer and then calls `_asked`, even if it was cancelled."""
        if self._ended is not None:
            raise self._ended
        assert self._transport is not None, "the channel is not open"
        assert self._answer is None, "one call at a time"
        size = 4 + len(head) + len(payload)
        if size > MAX_FRAME_BYTES or len(head) > MAX_HEADER_BYTES:
            raise ValueError(f"a frame of {size} bytes with a header of {len(head)} is over the limit of the wire")
        self._answer = self._loop.create_future()
        prefix = _SIZES.pack(size, len(head)) + head
        if len(payload) <= _JOIN_BYTES:
            self._batch.write(self._transport, prefix + payload, others=self._batch.under_way)
        else:
            self._transport.write(prefix)
            self._transport.write(payload)
        self._batch.under_way += 1
        return self._answer

    def _asked(self) -> None:
        if self._answer is not None:
            self._batch.under_way -= 1
            self._answer = None

    def on_unasked(self, head: bytes, payload: bytes) -> None:
        """A frame arrived while no call waits: it must not become the answer to a later call."""
        self._end(SandboxDied("protocol", "an answer to nothing"))

    def on_frame(self, head: bytes, payload: bytes) -> None:
        """Takes a complete frame from the shim."""
        answer = self._answer
        if answer is None or answer.done():
            # If the answer is done, its caller was cancelled and kills the instance.
            self.on_unasked(head, payload)
            return
        try:
            header = _decode(head)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._end(SandboxDied("protocol", f"a broken header: {error}"))
            return
        # Output written before the result may still be in the pipe.
        self._output.drain()
        answer.set_result((header, payload))

    def _on_lost(self, broken: str) -> None:
        self._end(SandboxDied("protocol", broken) if broken else SandboxDied("exit"))

    def _break(self, what: str) -> SandboxDied:
        died = SandboxDied("protocol", what)
        self._end(died)
        return died

    def _end(self, died: SandboxDied) -> None:
        if self._ended is not None:
            return
        self._ended = died
        self._output.drain()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(died)
        self._on_end()


class Output:
    """The reading end of the pipe that is both stdout and stderr of an instance. Owns the descriptor."""

    def __init__(self, fd: int, on_output: OnOutput) -> None:
        self._fd = fd
        self._on_output = on_output
        self._loop: asyncio.AbstractEventLoop | None = None
        self.capacity = _capacity(fd)
        self._count = array("i", [0])
        os.set_blocking(fd, False)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._fd, self._read)

    def drain(self) -> None:
        """Passes on everything that was in the pipe at the time of the call.

        Reads no more than the pipe's capacity: a background thread that never stops writing must not block the host.
        """
        left = self.capacity
        while left > 0 and self._fd >= 0:
            # Asking is cheaper than the exception from reading an empty pipe, which it is after most calls.
            fcntl.ioctl(self._fd, termios.FIONREAD, self._count)
            waiting = self._count[0]
            if not waiting:
                return
            self._read()
            left -= min(waiting, _READ_BYTES)

    def close(self) -> None:
        if self._fd >= 0:
            self.drain()
        self._forget()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._forget()
            return
        self._on_output(data)

    def _forget(self) -> None:
        if self._fd >= 0:
            if self._loop is not None:
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class _Frames(asyncio.BufferedProtocol):
    """Splits the stream into frames. A large frame is received into memory of its size, without copies.

    The kernel allocates that memory as it is filled, so a frame that is announced but never sent takes none.
    """

    def __init__(self, on_frame: Callable[[bytes, bytes], None], on_lost: Callable[[str], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._transport: asyncio.BaseTransport | None = None
        self._small = bytearray(_READ_BYTES)
        self._large: mmap.mmap | None = None
        self._got = 0
        self._broken = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._small if self._large is None else self._large)[self._got :]

    def buffer_updated(self, nbytes: int) -> None:
        self._got += nbytes
        if self._large is not None:
            if self._got == len(self._large):
                frame, self._large, self._got = self._large, None, 0
                self._deliver(frame, 0, _SIZES.unpack_from(frame)[1], len(frame))
            return
        start, got, small = 0, self._got, self._small
        while got - start >= 8 and not self._broken:
            size, header_size = _SIZES.unpack_from(small, start)
            if size > MAX_FRAME_BYTES or header_size > MAX_HEADER_BYTES or header_size + 4 > size:
                self._fail(f"a frame of {size} bytes with a header of {header_size}")
                return
            end = start + 4 + size
            if end > got:
                if 4 + size > _READ_BYTES:
                    self._large = mmap.mmap(-1, 4 + size)
                    self._large[: got - start] = memoryview(small)[start:got]
                    self._got = got - start
                    return
                break
            self._deliver(small, start, header_size, end)
            start = end
        if start == got:
            # By far the most common case: complete frames with nothing after them.
            self._got = 0
        elif start:
            small[: got - start] = small[start:got]
            self._got = got - start

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(self._broken)

    def _deliver(self, data: bytearray | mmap.mmap, start: int, header_size: int, end: int) -> None:
        split = start + 8 + header_size
        view = memoryview(data)
        self._on_frame(bytes(view[start + 8 : split]), bytes(view[split:end]))

    def _fail(self, what: str) -> None:
        self._broken = what
        assert self._transport is not None
        self._on_lost(what)
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()


def _capacity(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, _F_GETPIPE_SZ)
    except OSError:
        return _PIPE_BYTES
