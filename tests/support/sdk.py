"""The official SDK, unmodified, in a form that tests of asynchronous code can await."""

import asyncio
import json
from typing import Any
from urllib.parse import unquote

import fc2
import pytest

from sesame.http.server import HttpServer

KEY_ID, SECRET = "LTAItest", "test-secret-0123456789"


class _Client(fc2.Client):  # type: ignore[misc]
    def do_request(self, method: str, path: str, params: Any = None, body: Any = None) -> Any:
        headers = self._build_common_headers(method, unquote(path), {})
        return self._do_request(method, path, headers, params=params, body=body)

    def do_signed_with_query(self, method: str, path: str, params: dict[str, str]) -> Any:
        """Signed as `do_http_request` signs: over the path and the query."""
        headers = self._build_common_headers(method, unquote(path), {}, params)
        return self._do_request(method, path, headers, params=params)


class Client:
    """The SDK blocks: each call runs in a thread, the endpoint in the loop."""

    def __init__(self, server: HttpServer, **changes: str) -> None:
        keys = {"endpoint": server.url, "accessKeyID": KEY_ID, "accessKeySecret": SECRET, **changes}
        self._client = _Client(**keys)

    async def __call__(self, operation: str, *arguments: Any, **options: Any) -> Any:
        return await asyncio.to_thread(getattr(self._client, operation), *arguments, **options)

    async def failure(self, operation: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        with pytest.raises(fc2.FcError) as caught:
            await self(operation, *arguments, **options)
        return {"status": caught.value.status_code, "code": caught.value.err_code, **json.loads(caught.value.message)}

    async def request(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        """An operation that this SDK has no method for: signed, sent and parsed by it all the same."""
        path = path if path.startswith("/sesame/") else "/2016-08-15" + path
        answer = await self("do_request", method, path, params, None if body is None else json.dumps(body))
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str) -> dict[str, Any]:
        """How such an operation was refused."""
        return await self.failure("do_request", method, path if path.startswith("/sesame/") else "/2016-08-15" + path)
