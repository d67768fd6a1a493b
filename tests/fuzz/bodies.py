"""Bodies of management requests in JSON, and the code within them in base64: read, or refused in the API's words.

The first byte of an input says as which of the API's inputs the rest is read.
"""

import base64
import contextlib
import inspect
import json
from collections.abc import Iterator
from types import ModuleType

import msgspec
from tests.support.fuzzing import Kind, just

from sesame.fc import code_text, wire_json
from sesame.fc.refusals import ApiError
from sesame.fc.services import inputs as services
from sesame.fc.v2021 import inputs as v2021
from sesame.fc.v2023 import inputs as v2023
from sesame.fc.v2023 import inputs_settings as v2023_settings
from sesame.model.errors import CallerError, Unusable


def inputs_of(module: ModuleType) -> Iterator[type[msgspec.Struct]]:
    for name, shape in sorted(vars(module).items()):
        if name.endswith("Input") and inspect.isclass(shape) and issubclass(shape, msgspec.Struct):
            yield shape


SHAPES = tuple(shape for module in (services, v2021, v2023, v2023_settings) for shape in inputs_of(module))


def take(data: bytes) -> None:
    if not data:
        return
    body = data[1:]
    with contextlib.suppress(Unusable, ApiError):
        parted = code_text.cut(body)
        assert len(parted.document) <= len(body) + len(code_text.PLACEHOLDER)
    with contextlib.suppress(CallerError):
        sent = wire_json.decode(body, SHAPES[data[0] % len(SHAPES)])
        neutral = getattr(sent, "neutral", None)
        if neutral is not None and not inspect.signature(neutral).parameters:
            neutral()
        # What was taken can be answered and stored.
        json.loads(msgspec.json.encode(sent))


EVERYTHING = {
    "functionName": "f", "description": "ü", "runtime": "python3.12", "handler": "index.handler", "memorySize": 512,
    "timeout": 60, "cpu": 0.5, "diskSize": 512, "environmentVariables": {"A": "b", "PATH": None}, "layers": ["a"],
    "code": {"zipFile": base64.b64encode(b"PK" * 30).decode(), "ossBucketName": "b"}, "internetAccess": True,
    "nasConfig": {"userId": -1, "groupId": 0, "mountPoints": [{"serverAddr": "x:/y", "mountDir": "/mnt"}]},
    "ossMountConfig": {"mountPoints": [{"bucketName": "b", "bucketPath": "/", "mountDir": "/o", "readOnly": True}]},
    "customDns": {"nameServers": ["1.1.1.1"], "searches": [], "dnsOptions": [{"name": "ndots", "value": "1"}]},
    "logConfig": {"project": "p", "logstore": "l", "logBeginRule": "None"}, "vpcConfig": {"vpcId": "v"},
    "customRuntimeConfig": {"command": ["a"], "args": [], "port": 9000, "healthCheckConfig": {"httpGetUrl": "/"}},
    "instanceLifecycleConfig": {"preStop": {"handler": "h", "timeout": 3}, "initializer": {"command": ["x"]}},
    "triggerName": "t", "triggerType": "timer", "triggerConfig": {"cronExpression": "@every 1m", "payload": "x"},
    "additionalVersionWeight": {"1": 0.5}, "versionId": "1", "aliasName": "a", "tags": {"k": "v"}, "resourceArn": "a",
    "maxAsyncRetryAttempts": 3, "destinationConfig": {"onSuccess": {"destination": "acs:fc"}}, "target": 5,
    "scheduledActions": [{"name": "n", "startTime": "2026-01-02T03:04:05Z", "target": 3, "endTime": "x"}],
    "domainName": "a.b", "protocol": "HTTP,HTTPS", "routeConfig": {"routes": [{"path": "/*", "methods": ["GET"]}]},
    "certConfig": {"certName": "c", "certificate": "-----BEGIN", "privateKey": "x"}, "instanceConcurrency": 20,
}  # fmt: skip
WHOLE = json.dumps(EVERYTHING).encode()
KIND = Kind(
    seeds=[bytes((number,)) + WHOLE for number in range(len(SHAPES))]
    + [b"\0" + json.dumps({key: value}).encode() for key, value in EVERYTHING.items()],
    words=[
        b'"zipFile": "', b'"code"', b'"', b'\\"', b"\\u0041", b"\\ud800\\udc00", b"\\u0000", b"null", b"true", b"1e400",
        b"-0", b"9223372036854775808", b"[[[[[[[[[[", b'{"a":' * 70, b"=", b"====", b"+/", b"A" * 64, b",", b'": ',
    ],
    opened=just(take),
)  # fmt: skip
