"""Selects the certificate of a TLS connection before its handshake, so that creating it may take time.

Used by `http.listener`. Otherwise the module `ssl` would ask in the middle of the handshake, on the event loop.
"""

import asyncio
import contextlib
import select
import socket
import ssl
from typing import Protocol

# A record starts with type, version and length (RFC 8446 §5.1). The client's first record names the requested host.
_RECORD_HEAD_BYTES, _RECORD_BYTES_MAX = 5, 16 * 1024
# The pause between two looks at a socket that becomes readable too early.
_LOOK_AGAIN_S, _LOOK_AGAIN_MAX_S = 0.002, 0.25


class NamedTls(Protocol):
    async def context(self, name: str, peer: str) -> ssl.SSLContext:
        """The context for a client that asks for `name`, in lower case; "" if it names none.

        Raises `ConnectionRefusedError` to deny the handshake.
        """


class NamedHandshakes:
    """Reads the name before each handshake. One per server, because creating a context takes a millisecond."""

    def __init__(self, named: NamedTls) -> None:
        self._named = named
        self._reading = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._reading.sslobject_class = _Hello
        self._reading.sni_callback = _note

    async def context(self, accepted: socket.socket, peer: str) -> ssl.SSLContext:
        """Leaves the client's data to be read again. Raises `OSError` if the handshake is denied."""
        return await self._named.context(self._asked(await _peeked(accepted)), peer)

    def _asked(self, hello: bytes) -> str:
        incoming = ssl.MemoryBIO()
        incoming.write(hello)
        reading = self._reading.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
        # The handshake fails as intended, or because the client does not speak TLS, which the real handshake will
        # report.
        with contextlib.suppress(ssl.SSLError):
            reading.do_handshake()
        assert isinstance(reading, _Hello)
        return reading.asked


class _Hello(ssl.SSLObject):
    asked = ""


def _note(hello: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int:
    assert isinstance(hello, _Hello)
    hello.asked = (name or "").lower()
    # Ends this handshake early: it only serves to read the name.
    return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


async def _peeked(accepted: socket.socket) -> bytes:
    """The first record, or the part that was received if the client closes."""
    loop = asyncio.get_running_loop()
    needed, pause_s = _RECORD_HEAD_BYTES, _LOOK_AGAIN_S
    while True:
        # A TCP socket becomes readable once this much has arrived; other socket types at the first byte.
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, needed)
        readable = loop.create_future()
        loop.add_reader(accepted.fileno(), _settle, readable)
        try:
            await readable
        finally:
            loop.remove_reader(accepted.fileno())
        # Check before reading, so that everything sent before the end is found.
        ended = _has_ended(accepted)
        try:
            found = accepted.recv(_RECORD_HEAD_BYTES + _RECORD_BYTES_MAX, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        announced = _RECORD_HEAD_BYTES + int.from_bytes(found[3:5], "big")
        if len(found) < needed:
            if ended or not found:
                raise ConnectionResetError("the client disconnected before its handshake")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_AGAIN_MAX_S)
            continue
        if len(found) >= announced or announced > _RECORD_HEAD_BYTES + _RECORD_BYTES_MAX:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            return found
        needed = announced


def _has_ended(accepted: socket.socket) -> bool:
    looking = select.poll()
    looking.register(accepted, select.POLLRDHUP)
    return bool(looking.poll(0))


def _settle(readable: "asyncio.Future[None]") -> None:
    if not readable.done():
        readable.set_result(None)
