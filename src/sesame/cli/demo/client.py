"""Deploys and calls the demo's functions through the unmodified official SDK, and times each call.

Used by `cli.demo.command`. Like any customer, it knows only an endpoint and a key.
"""

import base64
import json
import shlex
import sys
import time

from sesame.cli.demo.calls import Answer, DemoFunction
from sesame.data_dir import Credentials
from sesame.model.errors import ConfigurationError

try:
    import fc2
except ModuleNotFoundError:
    # The server does not need the SDK; `require_sdk` explains how to install it.
    fc2 = None


def require_sdk() -> None:
    """Raises `ConfigurationError` with the next step if the SDK is not installed."""
    if fc2 is None:
        raise ConfigurationError(
            "the demo calls through Alibaba Cloud's own SDK, which is not installed: "
            f"{shlex.quote(sys.executable)} -m pip install 'sesame-fc[demo]' (or just aliyun-fc2)"
        )


class DemoClient:
    """Creates one service for each role when it is first needed."""

    def __init__(self, endpoint: str, credentials: Credentials, service: str) -> None:
        self._client = fc2.Client(
            endpoint=endpoint,
            accessKeyID=credentials.access_key_id,
            accessKeySecret=credentials.access_key_secret,
        )
        self._account_id = credentials.account_id
        self._service = service
        self._made: set[str] = set()

    def name_of(self, function: DemoFunction, runtime: str) -> str:
        return f"{function.name}-{runtime.replace('.', '_')}"

    def deploy(self, function: DemoFunction, runtime: str) -> float:
        """Creates the function from its folder; returns the duration in milliseconds."""
        service = self._ready_service(function)
        began = time.perf_counter()
        self._client.create_function(
            service,
            self.name_of(function, runtime),
            runtime,
            function.handler,
            initializer=function.initializer or None,
            codeDir=str(function.folder),
            memorySize=128,
            timeout=function.timeout_s,
        )
        return (time.perf_counter() - began) * 1000

    def call(self, function: DemoFunction, runtime: str, event: bytes) -> Answer:
        """Invokes the function and requests the tail of its log."""
        began = time.perf_counter()
        try:
            response = self._client.invoke_function(
                self._service_of(function),
                self.name_of(function, runtime),
                payload=event,
                headers={"x-fc-log-type": "Tail"},
            )
        except fc2.FcError as error:
            took_ms = (time.perf_counter() - began) * 1000
            body = json.loads(error.message)
            body.pop("RequestId", None)
            return Answer(
                body=json.dumps(body).encode(), failed=True, request_id=error.request_id, round_trip_ms=took_ms
            )
        took_ms = (time.perf_counter() - began) * 1000
        return Answer(
            body=response.data,
            failed=False,
            request_id=response.headers["X-Fc-Request-Id"],
            round_trip_ms=took_ms,
            duration_ms=response.headers["X-Fc-Invocation-Duration"],
            log=base64.b64decode(response.headers["X-Fc-Log-Result"]).decode("utf-8", "replace"),
        )

    def _ready_service(self, function: DemoFunction) -> str:
        name = self._service_of(function)
        if name not in self._made:
            role = f"acs:ram::{self._account_id}:role/{function.role}" if function.role else None
            self._client.create_service(name, description="Made by `sesame demo`", role=role)
            self._made.add(name)
        return name

    def _service_of(self, function: DemoFunction) -> str:
        return f"{self._service}-{function.role}" if function.role else self._service
