"""Sends records to URLs; no other code of this server makes HTTP requests of its own.

Used by `destinations.deliverer`, which bounds duration and concurrency. Follows no redirects, ignores the environment's
proxies, keeps no cookies, and reads only the status of a response. Connects for callers only to addresses that
`destinations.reach` permits, whatever a name resolves to.
"""

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sesame.destinations.reach import ALLOWED, Reach
from sesame.model.errors import SesameError

if TYPE_CHECKING:
    import aiohttp

CONNECTIONS_KEPT = 64
ADDRESSES_KEPT_S = 30


class NotDelivered(SesameError):
    """The record did not arrive; the message states why. `unreachable` means that there was no response at all."""

    def __init__(self, reason: str, *, unreachable: bool) -> None:
        super().__init__(reason)
        self.unreachable = unreachable


class NotPermitted(NotDelivered):
    """The address is one that records are not sent to: no attempt will succeed."""


class _Refused(OSError):
    """No connection is opened to the address."""


class Sender(Protocol):
    async def send(self, url: str, headers: Mapping[str, str], body: bytes, *, anywhere: bool = False) -> None:
        """Returns when the server has answered with a status from 200 to 299. Raises `NotDelivered`.

        `anywhere`: the operator chose the URL, so that any address will do.
        """

    async def close(self) -> None: ...


class HttpSender:
    """Not thread-safe: belongs to one event loop."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        # For URLs of the operator, and for those of callers, who must not find a connection to where they may not go.
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, *, anywhere: bool = False) -> None:
        # Imported with the first record: the import takes a fifth of the start-up time, and most servers never send
        # one.
        import aiohttp
        from yarl import URL

        try:
            request = self._opened(anywhere=anywhere).post(
                URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
            )
            async with request as response:
                status, reason = response.status, response.reason or ""
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _Refused):
                raise NotPermitted(str(error.os_error), unreachable=True) from error
            raise NotDelivered(f"no answer: {error or type(error).__name__}", unreachable=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotDelivered(f"no answer: {error or type(error).__name__}", unreachable=True) from error
        if not 200 <= status < 300:
            raise NotDelivered(f"answered {status} {reason}".rstrip(), unreachable=False)

    async def close(self) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    def _opened(self, *, anywhere: bool) -> "aiohttp.ClientSession":
        import aiohttp

        if anywhere not in self._sessions:
            connector = aiohttp.TCPConnector(
                limit=CONNECTIONS_KEPT,
                ttl_dns_cache=ADDRESSES_KEPT_S,
                socket_factory=None if anywhere else self._socket,
            )
            # The deliverer enforces its own timeout, by its clocks.
            self._sessions[anywhere] = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._sessions[anywhere]

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """The socket for a connection to a resolved address, one of those that `getaddrinfo` returns."""
        family, kind, protocol, _name, (host, port, *_rest) = address
        if not self._reach.permits(host, port):
            raise _Refused(f"{host}:{port} is not permitted: expected {ALLOWED}")
        return socket.socket(family, kind, protocol)
