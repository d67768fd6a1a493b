"""The official SDK of FC 3.0, unmodified, in a form that tests of asynchronous code can await.

Bodies are given and answers taken as the SDK's own models write them: a name that its models do not know is lost.
"""

import asyncio
import base64
import inspect
import re
from typing import Any

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client as SdkClient
from alibabacloud_tea_openapi.utils_models import Config
from darabonba.exceptions import DaraException
from darabonba.runtime import RuntimeOptions
from tests.support import zips
from tests.support.sdk import KEY_ID, SECRET

from sesame.http.server import HttpServer

CODE = zips.zip_of({"index.py": "def handler(event, context):\n    return event\n"})
ZIP = base64.b64encode(CODE).decode()


def made(name: str = "f", **changes: Any) -> dict[str, Any]:
    """The body of a function that is in order, but for what is changed."""
    return {
        "functionName": name, "runtime": "python3.10", "handler": "index.handler", "code": {"zipFile": ZIP}, **changes,
    }  # fmt: skip


class Client:
    """The SDK blocks: each call runs in a thread, the endpoint in the loop."""

    def __init__(self, server: HttpServer | str, key_id: str = KEY_ID, secret: str = SECRET, token: str = "") -> None:
        """`server` may be a URL."""
        host = (server if isinstance(server, str) else server.url).removeprefix("http://")
        keys = {"access_key_id": key_id, "access_key_secret": secret, "security_token": token or None}
        self._sdk = SdkClient(Config(**keys, endpoint=host, protocol="http", region_id="x"))

    async def __call__(self, operation: str, *names: str, body: Any = None, **fields: Any) -> Any:
        """`names` are the parts of the path. The answer's body as a map, None where it has none."""
        answer = await self.answer(operation, *names, body=body, **fields)
        found = getattr(answer, "body", None)
        return found if found is None or isinstance(found, str) or hasattr(found, "read") else found.to_map()

    async def answer(self, operation: str, *names: str, body: Any = None, headers: Any = None, **fields: Any) -> Any:
        """The SDK's own response."""
        method = f"{operation}_with_options"
        call: Any = getattr(self._sdk, method if hasattr(self._sdk, method) else f"{operation}with_options")
        arguments: list[Any] = [*names]
        if {"request", "tmp_req"} & inspect.signature(call).parameters.keys():
            shape = getattr(models, _pascal(operation) + "Request")
            if isinstance(body, dict):
                named = inspect.signature(shape.__init__).parameters["body"].annotation
                fields["body"] = getattr(models, named.rpartition(".")[2])().from_map(body)
            elif body is not None:
                fields["body"] = body
            arguments.append(shape(**fields))
        return await asyncio.to_thread(lambda: call(*arguments, headers or {}, RuntimeOptions(autoretry=False)))

    async def failure(self, operation: str, *names: str, **fields: Any) -> tuple[int, str, str]:
        """Status, code and message of a call that must be refused."""
        with pytest.raises(DaraException) as caught:
            await self.answer(operation, *names, **fields)
        error: Any = caught.value
        return error.status_code, error.code, re.sub(r" ?request id:.*", "", error.message)


def _pascal(operation: str) -> str:
    named = "".join(part.capitalize() for part in operation.split("_"))
    return named.replace("Acl", "ACL")
