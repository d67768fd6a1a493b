"""Accepts the connections of one listening socket.

Created by `http.server`. Survives failures of `accept`: it pauses until there are descriptors again.
"""

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple

import structlog

from sesame.http.admission import Admission
from sesame.http.shared import Shared
from sesame.http.tls import NamedHandshakes
from sesame.model.clocks import Timer
from sesame.model.errors import ConfigurationError
from sesame.model.fair_rate import Share
from sesame.model.seldom import Seldom

BACKLOG = 2048
# How many connections are accepted before the event loop turns to other work.
ACCEPTED_AT_ONCE = 64
PAUSE_S = 0.2
# A handshake takes 0.8 ms of the event loop, as much as this many connections without one (`fair_rate`).
HANDSHAKE_UNITS = 8.0
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = structlog.get_logger("sesame.http")


def listening_socket(host: str, port: int) -> socket.socket:
    """Raises `ConfigurationError` if the address cannot be bound."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, proto, _name, address = found[0]
        listener = socket.socket(family, kind, proto)
    except (OSError, UnicodeError) as error:
        # A name with an empty or too long label, or one that is no text, is a `UnicodeError`.
        raise ConfigurationError(f"cannot listen on {host}: {error}; choose another address") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; stop what uses the port, or choose another "
            "(0 takes any free one)"
        ) from error
    return listener


def units_of(tls: object | None) -> float:
    """The cost of accepting a connection, in the units of `model.fair_rate`."""
    return 1.0 if tls is None else HANDSHAKE_UNITS


class Peer(NamedTuple):
    """With a name, all connections to the socket count as one client, whatever their addresses; `share` is its rate."""

    name: str = ""
    share: Share | None = None


class Listener:
    def __init__(
        self, listening: socket.socket, shared: Shared, tls: ssl.SSLContext | NamedHandshakes | None, peer: Peer
    ) -> None:
        self._admission = Admission(shared, tls)
        self._peer = peer.name
        self._share = peer.share
        self._units = units_of(tls)
        self._wait_no_longer: Callable[[], None] | None = None
        self._socket = listening
        self._shared = shared
        self._paused: Timer | None = None
        self._says = Seldom(shared.clock)

    def start(self) -> None:
        # If several processes share a socket, each accepts one connection at a time, so that they get equally many.
        at_once = 1 if self._shared.movable else ACCEPTED_AT_ONCE
        self._shared.loop.add_reader(self._socket.fileno(), self.accept, at_once)

    async def hand_over(self, within_s: float) -> int:
        """Stops accepting, lets handshakes under way end, and returns the descriptor of the socket."""
        self._stop_accepting()
        await self._admission.opened(within_s)
        # Not a duplicate, for which there may be no descriptor left.
        return self._socket.detach()

    def close(self) -> None:
        """Idempotent. Aborts handshakes under way."""
        if self._socket.fileno() >= 0:
            self._stop_accepting()
            self._socket.close()
        self._admission.close()

    def _stop_accepting(self) -> None:
        if self._paused is not None:
            self._paused.cancel()
        if self._wait_no_longer is not None:
            self._wait_no_longer()
        self._shared.loop.remove_reader(self._socket.fileno())

    def accept(self, most: int = ACCEPTED_AT_ONCE) -> bool:
        """Accepts up to `most` waiting connections. Returns whether there were that many."""
        share = self._share
        for _ in range(most):
            if share is not None and not share.allows():
                self._shared.loop.remove_reader(self._socket.fileno())
                self._wait_no_longer = share.wait(self.start)
                return False
            try:
                accepted, address = self._socket.accept()
            except ConnectionAbortedError:
                continue
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                self._pause(error)
                return False
            if share is not None:
                share.charge(self._units)
            try:
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._admission.admit(accepted, str(address[0]), self._peer)
            except OSError:
                # The client has already disconnected.
                accepted.close()
        return True

    def _pause(self, error: OSError) -> None:
        """Out of descriptors: drops one waiting connection, evicts others, and retries shortly."""
        shared = self._shared
        if self._says.may():
            log.error("connections cannot be accepted; trying again", error=str(error), open=len(shared.connections))
        if error.errno in _OUT_OF_RESOURCES:
            self._admission.evict(None, shared.limits.connections)
            shared.reserve.give_up()
            with contextlib.suppress(OSError):
                self._socket.accept()[0].close()
            shared.reserve.hold()
        shared.loop.remove_reader(self._socket.fileno())
        self._paused = shared.clocks.call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._paused = None
        self.start()
