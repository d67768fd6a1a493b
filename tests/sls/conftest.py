"""A Log Service endpoint on a free port, in a thread of its own, and official clients for it.

Used by the tests of this package. Clients reach it as unmodified SDKs do that know only names of the cloud: by proxy.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aliyun.log import IndexConfig, IndexKeyConfig, IndexLineConfig, LogClient
from tests.support.databases import new_database
from tests.support.query_processes import query_processes

from sesame.http.server import HttpServer
from sesame.identity.authentication import Authentication
from sesame.identity.authorization import Authorization
from sesame.identity.issuer import Issuer
from sesame.identity.keys import AccessKeys
from sesame.identity.roles import Roles, new_role, role_arn
from sesame.identity.tokens import Tokens, master_key
from sesame.model.clocks import SystemClocks
from sesame.model.role import Policy
from sesame.sls.app import SlsDependencies, SlsEndpoint
from sesame.store.catalog import Catalog
from sesame.store.logs.logstores.store import LogStorage
from sesame.store.sql.database import Database

T = TypeVar("T")

ACCOUNT, KEY_ID, SECRET, REGION = "4200000000000001", "LTAIexampleroot", "rootsecret", "cn-hangzhou"
ENDPOINT = f"http://{REGION}.log.aliyuncs.com"


class RunningEndpoint:
    """The endpoint with what is behind it; `run` takes a coroutine to its loop and waits for the result."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ahead_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sls-endpoint", daemon=True)

    def __enter__(self) -> "RunningEndpoint":
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(self, *_error: object) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def clock(self) -> float:
        return time.time() + self._ahead_s

    @contextlib.contextmanager
    def later(self, seconds: float) -> Iterator[None]:
        """The endpoint's clock is ahead of its clients' for a while."""
        self._ahead_s = seconds
        try:
            yield
        finally:
            self._ahead_s = 0.0

    async def _start(self) -> None:
        self._database = Database(new_database(self._root / "db"))
        await self._database.open()
        catalog = Catalog(self._database)
        await catalog.open()
        keys = AccessKeys(catalog)
        await keys.ensure_account(ACCOUNT, KEY_ID, SECRET)
        self._roles = Roles(catalog)
        await self._roles.seed(ACCOUNT, {})
        tokens = Tokens(await master_key(catalog), self.clock)
        self._issuer = Issuer(tokens, self._roles, self.clock)
        self._store = LogStorage(
            self._root / "logs.db", self._root / "segments", SystemClocks(), query_processes(), durable=False
        )
        await self._store.open()
        endpoint = SlsEndpoint(
            SlsDependencies(
                store=self._store,
                authentication=Authentication(keys, tokens),
                authorization=Authorization(catalog, self._roles),
                clock=self.clock,
                callers_clock=self.clock,
                region=REGION,
                account_id=ACCOUNT,
                own_hosts=("localhost", "sls.localhost"),
            )
        )
        self._server = HttpServer(endpoint)
        await self._server.start()
        self.url = self._server.url

    async def _stop(self) -> None:
        await self._server.stop(grace_s=1.0)
        await self._store.close()
        await self._database.close()

    def of_role(self, name: str, *statements: dict[str, Any], **options: Any) -> LogClient:
        """A client with the temporary credentials that a function of a service with this role has."""
        document = {"Version": "1", "Statement": list(statements)}
        self.run(self._roles.put_policy(ACCOUNT, Policy(name, json.dumps(document))))
        self.run(self._roles.put(ACCOUNT, new_role(name, [name])))

        async def lent() -> Any:
            return self._issuer.credentials(role_arn(ACCOUNT, name), "service", 3.0)

        given = self.run(lent())
        return client(given.access_key_id, given.access_key_secret, given.security_token, **options)


def client(key_id: str = KEY_ID, secret: str = SECRET, token: str | None = None, **options: Any) -> LogClient:
    """`source` is given, as the client asks the network for its own address otherwise."""
    return LogClient(ENDPOINT, key_id, secret, token, source="192.0.2.1", **options)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEndpoint]:
    with RunningEndpoint(tmp_path_factory.mktemp("sls")) as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", endpoint.url)
        patch.delenv("no_proxy", raising=False)
        patch.delenv("NO_PROXY", raising=False)
        yield endpoint


@pytest.fixture
def root(endpoint: RunningEndpoint) -> LogClient:
    return client()


@pytest.fixture
def logstore(root: LogClient) -> Iterator[tuple[str, str]]:
    """A project and an empty logstore of two shards with an index in it, gone afterwards."""
    root.create_project("big-game", "a game")
    root.create_logstore("big-game", "app-log", ttl=7)
    keys = {"message": IndexKeyConfig([" ", ","], doc_value=True)}
    index = IndexConfig(line_config=IndexLineConfig([" ", ","]), key_config_list=keys)
    root.create_index("big-game", "app-log", index)
    yield "big-game", "app-log"
    root.delete_project("big-game")
