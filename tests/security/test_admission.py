"""Bodies of callers who are refused take neither memory nor disk of the server: it looks who calls before it reads."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
from tests.fc.conftest import ACCOUNT_ID, endpoint, placement, server
from tests.fc.test_server import INVOKE, request
from tests.oss.conftest import RunningEndpoint
from tests.sls.conftest import RunningEndpoint as LogEndpoint
from tests.support.sdk import KEY_ID

from sesame.fc.auth.verifier import Verifier
from sesame.http.body_budget import BodyBudget
from sesame.http.server import HttpServer
from sesame.identity.authentication import Caller
from sesame.model.role import Principal, PrincipalKind
from sesame.oss.auth import Authenticator
from sesame.oss.permissions import Permissions as BucketPermissions
from sesame.sls import operations
from sesame.store.blobs.upload import Upload

__all__ = ["endpoint", "placement", "server"]

TRACKED = bytes(1024 * 1024)
BODY = bytes(4 * 1024 * 1024)
AT_ONCE = 8
PATIENCE_S = 60.0
SOMEBODY = Caller(Principal(PrincipalKind.ACCOUNT, ACCOUNT_ID), KEY_ID, "secret")
FORGED = {
    "nobody": {},
    "an unknown key": {"date": "Tue, 14 Nov 2023 22:13:20 GMT", "authorization": "FC LTAIunknown:c2lnbmF0dXJl"},
    "a wrong signature": {"date": "Tue, 14 Nov 2023 22:13:20 GMT", "authorization": f"FC {KEY_ID}:c2lnbmF0dXJl"},
}
PATHS = {"an invocation": ("POST", INVOKE), "a new function": ("POST", "/services/demo/functions")}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much memory was taken for bodies, each time that some was."""
    sizes: list[int] = []
    take = BodyBudget.take

    def noted(budget: BodyBudget, size: int, *whose: Any) -> bool:
        sizes.append(size)
        return take(budget, size, *whose)

    monkeypatch.setattr(BodyBudget, "take", noted)
    return sizes


async def send(server: HttpServer, data: bytes) -> bytes:
    """All of it, whether or not the server reads it; returns the first line of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        async with asyncio.timeout(PATIENCE_S):
            return await reader.readline()
    finally:
        writer.transport.abort()


async def flood(server: HttpServer, path: str, headers: dict[str, str]) -> list[bytes]:
    method, rest = PATHS[path]
    data = request(method, "/2016-08-15" + rest, {"host": "x", **headers}, BODY)
    return await asyncio.gather(*(send(server, data) for _ in range(AT_ONCE)))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("who", FORGED)
async def test_who_is_not_known_takes_no_memory(server: HttpServer, taken: list[int], who: str, path: str) -> None:
    answers = await flood(server, path, FORGED[who])
    assert not any(line.startswith(b"HTTP/1.1 2") for line in answers)
    assert taken == []


async def test_without_the_look_it_is_taken(
    server: HttpServer, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def believed(_verifier: Verifier, *_request: Any, **_more: Any) -> Caller:
        return SOMEBODY

    monkeypatch.setattr(Verifier, "verify", believed)
    await flood(server, "an invocation", FORGED["nobody"])
    assert sum(taken) >= AT_ONCE * len(BODY)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunningEndpoint]:
    with RunningEndpoint(tmp_path) as running:
        running.bucket().create_bucket()
        yield running


def put(store: RunningEndpoint) -> int:
    sent = requests.put(f"{store.url}/photos/large", data=BODY, timeout=PATIENCE_S)
    return sent.status_code


def test_an_object_of_nobody_takes_no_disk(store: RunningEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = written(monkeypatch)
    assert put(store) == 403
    assert pieces == []


def test_without_the_look_it_would(store: RunningEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    async def allowed(*_asked: Any) -> None:
        """Whoever it is."""

    monkeypatch.setattr(Authenticator, "authenticate", lambda _self, _request: SOMEBODY)
    monkeypatch.setattr(BucketPermissions, "require", allowed)
    pieces = written(monkeypatch)
    assert put(store) == 200
    assert sum(pieces) == len(BODY)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[LogEndpoint]:
    with LogEndpoint(tmp_path) as running:
        yield running


ON_LOGS = {"logs": "shards/lb", "web tracking": "track"}


def post_logs(logs: LogEndpoint, what: str) -> int:
    headers = {"Host": "nobodys.localhost", "x-log-bodyrawsize": str(len(TRACKED)), "x-log-apiversion": "0.6.0"}
    url = f"{logs.url}/logstores/no-logstore/{ON_LOGS[what]}"
    return requests.post(url, data=TRACKED, headers=headers, timeout=PATIENCE_S).status_code


@pytest.mark.parametrize("what", ON_LOGS)
def test_logs_of_nobody_take_no_memory(logs: LogEndpoint, taken: list[int], what: str) -> None:
    assert post_logs(logs, what) >= 400
    assert taken == []


def test_without_the_look_they_would(logs: LogEndpoint, taken: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    async def admit(_call: Any) -> None:
        """Whatever the logstore takes."""

    tracking = operations.TABLE["/logstores/{logstore}/track"]
    open_to_all = msgspec.structs.replace(tracking["POST", ""], admit=admit)
    monkeypatch.setitem(tracking, ("POST", ""), open_to_all)
    assert post_logs(logs, "web tracking") >= 400
    assert sum(taken) >= len(TRACKED)


def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of each piece of an object that is written to the disk."""
    sizes: list[int] = []
    write = Upload.write

    async def noted(upload: Upload, data: bytes) -> None:
        sizes.append(len(data))
        await write(upload, data)

    monkeypatch.setattr(Upload, "write", noted)
    return sizes
