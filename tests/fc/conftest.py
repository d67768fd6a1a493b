"""A whole endpoint on a temporary catalog, with a fake engine behind it; over ASGI and over a real socket."""

import asyncio
import base64
import io
import json
import time
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest
from click.testing import CliRunner, Result
from fc2.auth import Auth
from tests.support.databases import new_database
from tests.support.exchanges import FakeExchange
from tests.support.fakes import ReadFrom
from tests.support.queues import FakeQueue
from tests.support.sdk import KEY_ID, SECRET, Client
from tests.support.sdk_2023 import Client as Sdk2023
from tests.support.sdk_2023 import made

from sesame.control.account import AccountSettings
from sesame.control.code import CodeSource
from sesame.control.code_objects import ObjectSource
from sesame.control.code_uploads import CodeUploads
from sesame.control.control import Control, Needs
from sesame.control.own_hosts import OwnHosts
from sesame.control.recorder import Recorder
from sesame.engine.interface import Destined, InstanceInfo, Provisioned, RunningCommand, Trial
from sesame.engine.resolver import Resolver
from sesame.fc.app import FcEndpoint
from sesame.fc.dependencies import FcDependencies
from sesame.fc.links import secret_from
from sesame.fc.placement import Placement
from sesame.fc.replays import Replays
from sesame.http.request import Request
from sesame.http.server import HttpServer
from sesame.identity.authentication import Authentication
from sesame.identity.authorization import Authorization
from sesame.identity.issuer import Issuer
from sesame.identity.keys import AccessKeys
from sesame.identity.roles import Roles
from sesame.identity.tokens import Tokens
from sesame.model.arn import Arns
from sesame.model.command import Command
from sesame.model.errors import Exhausted
from sesame.model.invocation import Credentials, Invocation, Outcome, Phases, Target
from sesame.model.kinds import KINDS
from sesame.model.session import SessionKey
from sesame.model.session_affinity import SessionAffinity
from sesame.model.snapshot import Snapshot
from sesame.sandbox import checking
from sesame.store.blobs.files import FileBlobs
from sesame.store.catalog import Catalog
from sesame.store.objects.multipart import Uploads
from sesame.store.objects.objects import Objects
from sesame.store.packages.packages import Packages
from sesame.store.recordings import Kept, Recordings
from sesame.store.sql.database import Database

REGION = "cn-hongkong"
ACCOUNT_ID = "1234567890123456"
NOW = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


class EchoingTrials:
    """Answers each trial with its event, or with nothing found where sources are checked; runs nothing."""

    def __init__(self) -> None:
        self.ran: list[tuple[Snapshot, Invocation]] = []

    async def run(self, snapshot: Snapshot, invocation: Invocation) -> Trial:
        self.ran.append((snapshot, invocation))
        return Trial(outcome(b"[]" if snapshot.launch.handler == checking.HANDLER else invocation.event), Credentials())


class FakeEngine:
    """Answers what `then` says; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Invocation] = []
        self.announced: list[Target] = []
        self.looked_up: list[Target] = []
        self.full = False
        self.cancelled = 0
        self.entered, self.left = asyncio.Event(), asyncio.Event()
        self.then: Callable[[Invocation], Awaitable[Outcome]] = self.echo
        self.running: list[InstanceInfo] = []
        self.aborted: list[tuple[str, str]] = []
        self.provisioned: dict[Target, Provisioned] = {}
        self.destination = Destined("", streams=False)
        self.affinities: dict[str, SessionAffinity] = {}
        self.forgotten: list[SessionKey] = []
        self.exec: Callable[[InstanceInfo, Command], AbstractAsyncContextManager[RunningCommand]]

    def destined(self, target: Target, session_id: str = "") -> Destined:
        self.looked_up.append(target)
        return self.destination

    def affinity(self, target: Target) -> SessionAffinity | None:
        return self.affinities.get(target.function)

    def session_instance(self, parent: str, session_id: str) -> str:
        return "c-00000001"

    def forget_session(self, session: SessionKey) -> None:
        self.forgotten.append(session)

    def announce(self, target: Target) -> AbstractContextManager[None]:
        self.announced.append(target)
        if self.full:
            raise Exhausted("full")
        return nullcontext()

    async def instances(self, service: str, function: str) -> list[InstanceInfo]:
        return [each for each in self.running if (each.service, each.function) == (service, function)]

    async def provisioned_of(self, target: Target) -> Provisioned:
        return self.provisioned.get(target, Provisioned(0, 0))

    async def abort(self, service: str, function: str) -> None:
        self.aborted.append((service, function))

    async def drain(self, patience_s: float) -> None:
        """Nothing runs here."""

    async def invoke(self, invocation: Invocation) -> Outcome:
        self.asked.append(invocation)
        self.entered.set()
        try:
            return await self.then(invocation)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.left.set()

    async def echo(self, invocation: Invocation) -> Outcome:
        return outcome(invocation.event)


def outcome(payload: bytes = b"", **changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "payload": payload,
        "error": None,
        "duration_ms": 17.45,
        "memory_mb": 30.994,
        "log_tail": b"FC Invoke Start\r\n",
        "instance_id": "c-00000001",
        "version_id": "LATEST",
        "code_checksum": "17380263816131011825",
        "cold": False,
        "phases": Phases(),
        **changes,
    }
    return Outcome(**values)


@dataclass
class Answer:
    """What came back, names of headers as they were sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Endpoint:
    """A gateway and what stands behind it."""

    gateway: FcEndpoint
    engine: FakeEngine
    catalog: Catalog
    now: list[float]
    tokens: Tokens
    queue: FakeQueue
    recordings: Recordings
    trials: EchoingTrials

    def signed(
        self, method: str, path: str, headers: dict[str, str] | None = None, *, whole_path: bool = False
    ) -> dict[str, str]:
        sent = {"host": "127.0.0.1:9000", "date": DATE, **(headers or {})}
        path = path if whole_path else "/2016-08-15" + path
        sent["authorization"] = Auth(KEY_ID, SECRET).sign_request(method, unquote(path.partition("?")[0]), sent)
        return sent

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | list[bytes] | dict[str, Any] = b"",
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Answer:
        """One signed request; `path` as on the wire, `/2016-08-15` before it unless it is a whole one."""
        whole = options.get("whole_path", False)
        sent = self.signed(method, path, headers, whole_path=whole) if options.get("sign", True) else headers or {}
        path = path if whole else "/2016-08-15" + path
        chunks = [json.dumps(body).encode()] if isinstance(body, dict) else [body] if isinstance(body, bytes) else body
        return await asgi(self.gateway, scope(method, path, sent), chunks)


def scope(method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    raw_path, _mark, query = path.partition("?")
    return {
        "type": "http",
        "method": method,
        "path": raw_path,
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "server": ("127.0.0.1", 9000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }


async def hang_up_on(
    endpoint: Endpoint, path: str, headers: dict[str, str], body: bytes = b"", behind: bytes = b""
) -> None:
    """Over a socket: a POST to a function that never ends, whose client goes; returns when the call is cancelled."""

    async def forever(_call: Invocation) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    endpoint.engine.then = forever
    server = HttpServer(endpoint.gateway)
    await server.start()
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"POST {path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        async with asyncio.timeout(30):
            await endpoint.engine.entered.wait()
            if behind:
                writer.write(behind)
                await asyncio.sleep(0.05)
            writer.transport.abort()
            await endpoint.engine.left.wait()
    finally:
        await server.stop(grace_s=0.1)


def request_of(described: dict[str, Any]) -> Request:
    target = described["raw_path"], described["query_string"]
    addresses = described["scheme"], described["client"], described["server"]
    return Request(described["method"], target, tuple(described["headers"]), described["http_version"], addresses)


async def asgi(endpoint: FcEndpoint, described: dict[str, Any], chunks: list[bytes]) -> Answer:
    """What the endpoint answers to a request that `scope` described."""
    exchange = FakeExchange(request_of(described), chunks)
    await endpoint.serve(exchange)
    assert exchange.complete
    answer = Answer(exchange.status, {}, exchange.body)
    for line in exchange.lines.decode("latin-1").split("\r\n")[:-1]:
        name, _colon, value = line.partition(": ")
        assert name not in answer.headers, f"{name} twice"
        answer.headers[name] = value
    return answer


@pytest.fixture
def placement() -> Placement | None:
    """That of several agents, where a test has one of them."""
    return None


@pytest.fixture
async def endpoint(tmp_path: Path, placement: Placement | None) -> AsyncIterator[Endpoint]:
    database = Database(new_database(tmp_path / "sesame.db"))
    await database.open()
    catalog = Catalog(database, KINDS)
    await catalog.open()
    packages = Packages(tmp_path / "packages")
    await packages.open()
    keys = AccessKeys(catalog)
    await keys.ensure_account(ACCOUNT_ID, KEY_ID, SECRET)
    engine = FakeEngine()
    now = [NOW]
    queue = FakeQueue(lambda: now[0])
    roles = Roles(catalog)
    await roles.seed(ACCOUNT_ID, {})
    tokens = Tokens(b"k" * 32, lambda: now[0])
    arns = Arns(REGION, ACCOUNT_ID)
    objects = Objects(database, FileBlobs(tmp_path / "objects"))
    await objects.open()
    source = ObjectSource(catalog, objects, ACCOUNT_ID, REGION)
    issuer = Issuer(tokens, roles, lambda: now[0])
    uploads = CodeUploads(catalog, objects, Uploads(objects, lambda: now[0]), issuer, lambda: now[0])
    recordings = Recordings(database, Kept(1024 * 1024, 3600.0), lambda: now[0])
    await recordings.open()
    trials = EchoingTrials()
    recorder = Recorder(catalog, recordings, "none", lambda: now[0], b"key")
    gateway = FcEndpoint(
        FcDependencies(
            authentication=Authentication(keys, tokens),
            authorization=Authorization(catalog, roles),
            roles=roles,
            lend=issuer.credentials,
            engine=engine,
            control=Control.over(
                catalog,
                Needs(
                    code=CodeSource(packages, source.read, uploads),
                    check_role=lambda role: None,
                    arns=arns,
                    own_hosts=OwnHosts.of((), ()),
                    queue=queue,
                    deliveries=queue.deliveries,
                    wall_clock=lambda: now[0],
                ),
            ),
            packages=packages,
            account=AccountSettings(available_azs=(f"{REGION}-c",)),
            arns=arns,
            link_secret=secret_from(SECRET),
            clocks=ReadFrom(lambda: now[0]),
            log_problem=lambda service: "no such logstore" if service.log_config.project else "",
            recorder=recorder,
            replays=Replays(recorder, Resolver(catalog).resolve, trials, CodeSource(packages, None), packages),
            placement=placement,
        )
    )
    yield Endpoint(gateway, engine, catalog, now, tokens, queue, recordings, trials)
    await objects.close()
    await recordings.close()
    await database.close()


class CommandLine:
    """A group of `sesame`'s commands, run in a thread while the endpoint answers in the loop."""

    def __init__(self, group: click.Group, server: HttpServer) -> None:
        self._group = group
        self._environ = {"FC_ENDPOINT": server.url, "ACCESS_KEY_ID": KEY_ID, "ACCESS_KEY_SECRET": SECRET}

    async def run(self, *arguments: str, sent: bytes = b"") -> Result:
        """However it ends; `sent` is its standard input."""
        return await asyncio.to_thread(CliRunner().invoke, self._group, arguments, input=sent, env=self._environ)

    async def __call__(self, *arguments: str, sent: bytes = b"") -> list[str]:
        """The lines that it prints; it must succeed."""
        done = await self.run(*arguments, sent=sent)
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()


@pytest.fixture
async def server(endpoint: Endpoint) -> AsyncIterator[HttpServer]:
    serving = HttpServer(endpoint.gateway)
    await serving.start()
    yield serving
    await serving.stop(grace_s=1)


@pytest.fixture
def zip_of() -> Callable[..., bytes]:
    def make(**files: str) -> bytes:
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            for name, text in files.items():
                archive.writestr(name.replace("__", "."), text)
        return held.getvalue()

    return make


@pytest.fixture
def function_body(zip_of: Callable[..., bytes]) -> dict[str, Any]:
    code = zip_of(index__py="def handler(event, context):\n    return event\n")
    return {
        "functionName": "f",
        "runtime": "python3",
        "handler": "index.handler",
        "code": {"zipFile": base64.b64encode(code).decode()},
    }


@pytest.fixture
async def client(endpoint: Endpoint, server: HttpServer) -> Client:
    endpoint.now[0] = time.time()
    return Client(server)


@pytest.fixture
def code(tmp_path: Path, zip_of: Callable[..., bytes]) -> str:
    path = tmp_path / "code.zip"
    path.write_bytes(zip_of(index__py="def handler(event, context):\n    return event\n"))
    return str(path)


@pytest.fixture
async def sdk(client: Client, server: HttpServer) -> Sdk2023:
    """The SDK of FC 3.0; the endpoint's clock is the SDK's."""
    return Sdk2023(server)


@pytest.fixture
async def sdk_of_f(sdk: Sdk2023) -> Sdk2023:
    """The same, where there is a function `f`."""
    await sdk("create_function", body=made())
    return sdk
