"""A request's body as it arrives: chunk by chunk for objects, complete for the small XML documents.

Created by `oss.app` around ASGI's `receive`. Reads only as fast as the operation, so memory use stays constant.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from sesame.model.natural import natural
from sesame.oss.errors import OssError
from sesame.oss.request import Request

MD5_BYTES = 16


class ClientGone(Exception):
    """The connection ended before the request's body, so no answer can be sent."""


class Body:
    def __init__(self, request: Request, receive: Callable[[], Awaitable[Any]]) -> None:
        self._request = request
        self._receive = receive
        self.touched = False
        self.exhausted = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def whole(self, limit_bytes: int) -> bytes:
        """Reads the complete body. Raises OssError EntityTooLarge, and InvalidDigest if Content-MD5 differs."""
        chunks, size = [], 0
        async for chunk in self:
            chunks.append(chunk)
            size += len(chunk)
            if size > limit_bytes:
                raise OssError("EntityTooLarge")
        body = b"".join(chunks)
        self.check_md5(hashlib.md5(body, usedforsecurity=False).digest())
        return body

    def require_length(self) -> None:
        """Raises OssError MissingContentLength if the request has neither Content-Length nor Transfer-Encoding."""
        if not self._request.header("content-length") and not self._request.header("transfer-encoding"):
            raise OssError("MissingContentLength")

    def declared_length(self) -> int | None:
        return natural(self._request.header("content-length"))

    def expected_md5(self) -> bytes | None:
        """The digest in Content-MD5; None without the header. Raises OssError InvalidDigest."""
        header = self._request.header("content-md5")
        if not header:
            return None
        try:
            digest = base64.b64decode(header, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise OssError("InvalidDigest", details={"Content-MD5": header}) from exc
        if len(digest) != MD5_BYTES:
            raise OssError("InvalidDigest", details={"Content-MD5": header})
        return digest

    def check_md5(self, found: bytes) -> None:
        expected = self.expected_md5()
        if expected is not None and not hmac.compare_digest(expected, found):
            raise OssError("InvalidDigest", details={"Content-MD5": self._request.header("content-md5")})

    async def _chunks(self) -> AsyncIterator[bytes]:
        self.touched = True
        while not self.exhausted:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.exhausted = not message.get("more_body", False)
            if message.get("body"):
                yield message["body"]
