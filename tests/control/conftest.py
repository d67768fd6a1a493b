"""A catalog, packages and the parts of control on a temporary folder."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support import zips
from tests.support.databases import new_database
from tests.support.queues import FakeQueue
from tests.support.requesters import THE_ACCOUNT

from sesame.control.aliases import Aliases
from sesame.control.code import CodeSource
from sesame.control.functions import Functions
from sesame.control.inputs import AliasInput, CodeInput, FunctionInput, PublishInput, ServiceInput
from sesame.control.layers import Layers
from sesame.control.requester import Requester
from sesame.control.services import Services
from sesame.control.triggers import Triggers
from sesame.control.versions import Versions
from sesame.model.arn import Arns
from sesame.model.errors import OBJECT, NotFound, Unusable
from sesame.model.kinds import KINDS
from sesame.store.catalog import Catalog
from sesame.store.packages.packages import Packages
from sesame.store.sql.database import Database

ARNS = Arns(region="cn-hangzhou", account_id="123")
ROLE = "acs:ram::123:role/good"
HELLO = zips.zip_of({"index.py": "def handler(event, context):\n    return 'hello'\n"})
OTHER = zips.zip_of({"index.py": "def handler(event, context):\n    return 'other'\n"})


def base64_of(archive: bytes) -> str:
    return base64.b64encode(archive).decode()


def code_of(archive: bytes) -> CodeInput:
    return CodeInput(zip_file=base64_of(archive))


def hello(**changes: Any) -> FunctionInput:
    """Input of a function that is in order, but for what is changed."""
    values: dict[str, Any] = {
        "function_name": "f", "runtime": "python3", "handler": "index.handler", "code": code_of(HELLO), **changes,
    }  # fmt: skip
    return FunctionInput(**values)


@dataclass
class Account:
    """Everything that control works with, and what its collaborators were asked."""

    database: Database
    catalog: Catalog
    packages: Packages
    services: Services
    functions: Functions
    code: CodeSource
    objects: dict[tuple[str, str], bytes]
    compiled: list[str] = field(default_factory=list)

    @property
    def versions(self) -> Versions:
        return Versions(self.catalog)

    @property
    def aliases(self) -> Aliases:
        return Aliases(self.catalog)

    @property
    def layers(self) -> Layers:
        return Layers(self.catalog, self.code)

    @property
    def triggers(self) -> Triggers:
        return Triggers(self.catalog, ARNS)

    async def publish(self, description: str = "", service: str = "s") -> str:
        return (await self.versions.publish(service, PublishInput(description=description))).name

    async def alias(self, name: str, version: str, service: str = "s", **values: Any) -> None:
        await self.aliases.create(service, AliasInput(alias_name=name, version_id=version, **values))

    async def service(self, name: str = "s", **values: Any) -> None:
        await self.services.create(ServiceInput(service_name=name, **values), by=THE_ACCOUNT)


@pytest.fixture
async def account(tmp_path: Path) -> AsyncIterator[Account]:
    database = Database(new_database(tmp_path / "db"))
    await database.open()
    now = [1_600_000_000.0]

    def clock() -> float:
        now[0] += 1
        return now[0]

    catalog = Catalog(database, KINDS, clock=clock)
    await catalog.open()
    compiled: list[str] = []
    objects: dict[tuple[str, str], bytes] = {}

    def compile(_sha256: str, runtime: str) -> None:
        compiled.append(runtime)

    async def fetch(bucket: str, key: str, _by: Requester) -> bytes:
        if (bucket, key) not in objects:
            raise NotFound(OBJECT, key, (bucket,))
        return objects[bucket, key]

    def check_role(role: str) -> None:
        if role != ROLE:
            raise Unusable(f"role '{role}' cannot be assumed")

    packages = Packages(tmp_path / "packages", compile)
    await packages.open()
    code = CodeSource(packages, fetch)
    yield Account(
        database=database,
        catalog=catalog,
        packages=packages,
        services=Services(catalog, check_role),
        functions=Functions(catalog, code, FakeQueue(clock)),
        code=code,
        objects=objects,
        compiled=compiled,
    )
    await database.close()
