"""Sends records to URLs; no other code of this server makes HTTP requests of its own.

Used by `destinations.deliverer`, which bounds duration and concurrency. Follows no redirects, ignores the environment's
proxies, keeps no cookies, and reads only the status of a response.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

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


class Sender(Protocol):
    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """Returns when the server has answered with a status from 200 to 299. Raises `NotDelivered`."""

    async def close(self) -> None: ...


class HttpSender:
    """Not thread-safe: belongs to one event loop."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        # Imported with the first record: the import takes a fifth of the start-up time, and most servers never send
        # one.
        import aiohttp
        from yarl import URL

        try:
            request = self._opened().post(URL(url, encoded=True), data=body, headers=headers, allow_redirects=False)
            async with request as response:
                status, reason = response.status, response.reason or ""
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotDelivered(f"no answer: {error or type(error).__name__}", unreachable=True) from error
        if not 200 <= status < 300:
            raise NotDelivered(f"answered {status} {reason}".rstrip(), unreachable=False)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS_KEPT, ttl_dns_cache=ADDRESSES_KEPT_S)
            # The deliverer enforces its own timeout, by its clocks.
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session
