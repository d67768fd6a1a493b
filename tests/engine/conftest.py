"""An engine on fakes: a catalog of records in a dictionary, a driver without processes, a clock without time."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support.fakes import FakeClocks, FakeDriver

from sesame.engine.dispatcher import Dispatcher
from sesame.engine.interface import Observer
from sesame.engine.invocation_log import LogSource
from sesame.engine.keep_alive import KeepAlive
from sesame.engine.policies import Caps
from sesame.engine.pool import Pool
from sesame.engine.resolver import Resolver
from sesame.engine.running import EngineDependencies, LocalEngine
from sesame.model import limits, records
from sesame.model.function import Function, Package
from sesame.model.invocation import Credentials, Invocation, Outcome, Target
from sesame.model.records import Record
from sesame.model.recursion import Chain
from sesame.model.service import Service
from sesame.store.catalog import Change

# Turns of the loop after which nothing moves any more.
SETTLED_TURNS = 30

PACKAGE = Package(sha256="aa", checksum="42", size_bytes=1)


class FakeCatalog:
    """The part of `store.catalog.Catalog` that a resolver uses."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str, str], Record] = {}
        self._listeners: list[Callable[[Change], None]] = []
        self._etags = 0

    def get(self, kind: str, parent: str, name: str) -> Record | None:
        return self._records.get((kind, parent, name))

    def children(self, kind: str, parent: str) -> list[Record]:
        return [record for key, record in self._records.items() if key[:2] == (kind, parent)]

    def of_kind(self, kind: str) -> Iterator[Record]:
        return iter([record for key, record in self._records.items() if key[0] == kind])

    def on_change(self, callback: Callable[[Change], None]) -> None:
        self._listeners.append(callback)

    def put(self, kind: str, parent: str, name: str, document: Any, modified_at: float = 0.0) -> None:
        self._etags += 1
        record = Record(kind, parent, name, document, f"{self._etags:032x}", 0.0, modified_at)
        self._records[kind, parent, name] = record
        self._tell(Change(kind, parent, name, record))

    def delete(self, kind: str, parent: str, name: str) -> None:
        del self._records[kind, parent, name]
        self._tell(Change(kind, parent, name, None))

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)


@dataclass
class Engine:
    catalog: FakeCatalog
    driver: FakeDriver
    clocks: FakeClocks
    resolver: Resolver
    local: LocalEngine
    kept: list[tuple[LogSource, str, bytes]]
    asked: list[tuple[str, float]] = field(default_factory=list)
    # Raised in place of credentials, if set.
    credentials_fail: list[Exception] = field(default_factory=list)
    # The chain that each call's credentials were asked for with.
    chains: list[Chain] = field(default_factory=list)

    @property
    def pool(self) -> Pool:
        return self.local.pool

    @property
    def dispatcher(self) -> Dispatcher:
        return self.local.dispatcher

    def deploy(self, name: str = "f", service: str = "s", **changes: Any) -> None:
        if self.catalog.get(records.SERVICE, "", service) is None:
            self.catalog.put(records.SERVICE, "", service, Service(service_name=service, service_id="id"))
        values: dict[str, Any] = {
            "function_name": name, "function_id": "id", "runtime": "python3.10", "handler": "index.handler",
            "package": PACKAGE, **changes,
        }  # fmt: skip
        self.catalog.put(records.FUNCTION, service, name, Function(**values))

    async def call(
        self, name: str = "f", event: bytes = b"e", *, service: str = "s", request_id: str = "r-1"
    ) -> Outcome:
        return await self.dispatcher.invoke(Invocation(request_id, Target(service, limits.LATEST, name), event))


def build(
    caps: Caps | None = None,
    chance: Callable[[], float] = lambda: 0.5,
    *,
    recursion_limit: int = 0,
    observer: Observer | None = None,
    debuggable: bool = False,
    keep_alive: KeepAlive | None = None,
) -> Engine:
    catalog, driver, clocks = FakeCatalog(), FakeDriver(), FakeClocks()
    kept: list[tuple[LogSource, str, bytes]] = []
    asked: list[tuple[str, float]] = []
    fail: list[Exception] = []
    chains: list[Chain] = []
    resolver = Resolver(catalog, chance)

    def credentials(role: str, _session_name: str, validity_s: float, chain: Chain) -> Credentials:
        chains.append(chain)
        if fail:
            raise fail[0]
        asked.append((role, validity_s))
        return Credentials("id", "secret", "token")

    local = LocalEngine(
        EngineDependencies(
            launcher=driver,
            resolver=resolver,
            clocks=clocks,
            caps=caps or Caps(instances_per_function=4, memory_mb=1024, starts_at_once=2, keep_alive_s=300),
            sink=lambda source, request_id, data, _more: kept.append((source, request_id, bytes(data))),
            credentials=credentials,
            account_id="123",
            region="cn-shanghai",
            recursion_limit=recursion_limit,
            observer=observer or Observer(),
            debuggable=debuggable,
            keep_alive=keep_alive,
        )
    )
    return Engine(catalog, driver, clocks, resolver, local, kept, asked, fail, chains)


@pytest.fixture
def engine() -> Engine:
    made = build()
    made.deploy()
    return made


async def settle() -> None:
    """Lets everything run that can run."""
    for _ in range(SETTLED_TURNS):
        await asyncio.sleep(0)
