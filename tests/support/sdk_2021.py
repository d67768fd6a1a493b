"""The official SDK of API 2021-04-06, unmodified, in a form that tests of asynchronous code can await."""

import asyncio
import inspect
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from alibabacloud_fc_open20210406 import models
from alibabacloud_fc_open20210406.client import Client as OfficialClient
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_util.models import RuntimeOptions
from Tea.exceptions import TeaException
from Tea.model import TeaModel
from tests.support.sdk import KEY_ID, SECRET

Headers = dict[str, str] | None
# What the SDK's generator writes in its own way.
_SPELLED = {"PutLayerACL": "put_layer_aclwith_options", "ClaimGPUInstance": "claim_gpuinstance_with_options"}


class Answered:
    """`data` is the body as the SDK's models parsed it: a dict with the names of the wire, or what it left unparsed."""

    def __init__(self, response: Any) -> None:
        body = getattr(response, "body", None)
        self.data: Any = body.to_map() if isinstance(body, TeaModel) else body
        self.headers: dict[str, str] = response.headers
        self.status: int = response.status_code


class Client2021:
    """The SDK blocks: each call runs in a thread."""

    def __init__(self, endpoint: str, key_id: str = KEY_ID, secret: str = SECRET, token: str | None = None) -> None:
        config = Config(
            access_key_id=key_id,
            access_key_secret=secret,
            security_token=token,
            endpoint=urlsplit(endpoint).netloc,
            protocol="http",
        )
        self._client = OfficialClient(config)

    async def __call__(self, operation: str, *path: str, headers: Headers = None, **sent: Any) -> Answered:
        """`operation` as the API calls it, `path` the names in its path, `sent` the fields of its request."""
        return await asyncio.to_thread(self.call, operation, *path, headers=headers, **sent)

    def call(self, operation: str, *path: str, headers: Headers = None, **sent: Any) -> Answered:
        method = getattr(self._client, _method(operation))
        arguments: list[Any] = list(path)
        if "request" in inspect.signature(method).parameters:
            arguments.append(getattr(models, operation + "Request")().from_map(sent))
        else:
            assert not sent, f"{operation} takes no request"
        arguments.append(getattr(models, operation + "Headers")().from_map(headers or {}))
        options = RuntimeOptions(autoretry=False, read_timeout=30_000, connect_timeout=30_000)
        return Answered(method(*arguments, options))

    async def failure(self, operation: str, *path: str, **sent: Any) -> TeaException:
        """How the SDK tells that the operation was refused."""
        with pytest.raises(TeaException) as caught:
            await self(operation, *path, **sent)
        return caught.value


def _method(operation: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operation).lower()
    return _SPELLED.get(operation) or f"{snake}_with_options"
