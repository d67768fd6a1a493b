"""Which certificate a TLS connection gets: known before its handshake, so that it may take time to be made.

Used by `http.listener`. Without it, the module `ssl` asks in the middle of the handshake, on the event loop.
"""

import asyncio
import contextlib
import select
import socket
import ssl
from typing import Protocol

# Of a record: its type, a version and a length (RFC 8446 §5.1). A client says first, in one record, whom it asks for.
_RECORD_HEAD_BYTES, _RECORD_BYTES_MAX = 5, 16 * 1024
# Between two looks at a socket that counts as readable too early.
_LOOK_AGAIN_S, _LOOK_AGAIN_MAX_S = 0.002, 0.25


class NamedTls(Protocol):
    async def context(self, name: str, peer: str) -> ssl.SSLContext:
        """For a client that asks for `name`, in lower case; "" where it says none.

        Raises `ConnectionRefusedError` for one that gets no handshake.
        """


class NamedHandshakes:
    """Reads the name before each handshake. One for each server, as a context takes a millisecond to be made."""

    def __init__(self, named: NamedTls) -> None:
        self._named = named
        self._reading = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._reading.sslobject_class = _Hello
        self._reading.sni_callback = _note

    async def context(self, accepted: socket.socket, peer: str) -> ssl.SSLContext:
        """What the client has sent stays to be read. Raises `OSError` for one that gets no handshake."""
        return await self._named.context(self._asked(await _peeked(accepted)), peer)

    def _asked(self, hello: bytes) -> str:
        incoming = ssl.MemoryBIO()
        incoming.write(hello)
        reading = self._reading.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
        # It ends as it was asked to; or the client speaks no TLS, which the real handshake tells it.
        with contextlib.suppress(ssl.SSLError):
            reading.do_handshake()
        assert isinstance(reading, _Hello)
        return reading.asked


class _Hello(ssl.SSLObject):
    asked = ""


def _note(hello: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int:
    assert isinstance(hello, _Hello)
    hello.asked = (name or "").lower()
    # Ends this handshake, which is only to read the name, before it takes long.
    return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


async def _peeked(accepted: socket.socket) -> bytes:
    """The first record, or what there is of it when the client closes."""
    loop = asyncio.get_running_loop()
    needed, pause_s = _RECORD_HEAD_BYTES, _LOOK_AGAIN_S
    while True:
        # A TCP socket counts as readable once so much is there; one of this machine's own family at the first byte.
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, needed)
        readable = loop.create_future()
        loop.add_reader(accepted.fileno(), _settle, readable)
        try:
            await readable
        finally:
            loop.remove_reader(accepted.fileno())
        # Before the look: what came until the end is then found.
        ended = _has_ended(accepted)
        try:
            found = accepted.recv(_RECORD_HEAD_BYTES + _RECORD_BYTES_MAX, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        announced = _RECORD_HEAD_BYTES + int.from_bytes(found[3:5], "big")
        if len(found) < needed:
            if ended or not found:
                raise ConnectionResetError("the client left before its handshake")
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
