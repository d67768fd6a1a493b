"""Which packages the collector removes: those that a committed change has released and nothing names any more.

Run by pytest; the catalog, its database and the packages are real.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support import zips

from sesame.control.cleanup import PackageCollector
from sesame.model import records
from sesame.model.function import Function, Package
from sesame.model.layer import LayerVersion
from sesame.store.catalog import Catalog
from sesame.store.packages.packages import COLLECT_GRACE_S, Packages
from sesame.store.sql.database import Database

LATER_S = COLLECT_GRACE_S + 1
LAYER_ARN = "acs:fc:cn-shanghai:42:layers/tools/versions/1"


class Stage:
    """One data directory, opened anew by `restart`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 1000.0

    async def open(self) -> int:
        self.database = Database(self.root / "db")
        await self.database.open()
        self.catalog = Catalog(self.database, clock=lambda: self.now)
        await self.catalog.open()
        self.packages = Packages(self.root / "packages", clock=lambda: self.now)
        await self.packages.open()
        self.collector = PackageCollector(self.catalog, self.database, self.packages, lambda: self.now)
        return await self.collector.open()

    async def restart(self) -> int:
        await self.database.close()
        return await self.open()

    async def package(self, text: str) -> Package:
        return await self.packages.add(zips.zip_of({"index.py": text}), "python3")

    async def put(self, name: str, package: Package, layers: tuple[str, ...] = ()) -> None:
        function = Function(name, "id", "python3", "index.handler", package, layers=layers)
        await self.catalog.edit(lambda tx: tx.put(records.FUNCTION, "s", name, function))

    async def delete(self, name: str) -> None:
        await self.catalog.edit(lambda tx: tx.delete(records.FUNCTION, "s", name))

    async def put_layer(self, package: Package, *, deleted: bool = False) -> None:
        layer = LayerVersion("tools", 1, package, deleted=deleted)
        await self.catalog.edit(lambda tx: tx.put(records.LAYER_VERSION, "tools", "1", layer))

    async def collect_later(self) -> int:
        self.now += LATER_S
        return await self.collector.collect()

    def here(self) -> set[str]:
        return set(self.packages.folder.all())


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    await stage.open()
    yield stage
    await stage.database.close()


async def test_replaced_and_deleted_code_goes_after_a_while(stage: Stage) -> None:
    old, new, other = [await stage.package(text) for text in "123"]
    await stage.put("f", old)
    await stage.put("g", other)
    await stage.put("f", new)
    assert await stage.collector.collect() == 0
    assert await stage.collect_later() == 1
    assert stage.here() == {new.sha256, other.sha256}
    await stage.delete("g")
    assert await stage.collector.collect() == 0
    assert await stage.collect_later() == 1
    assert stage.here() == {new.sha256}
    assert await stage.collect_later() == 0


async def test_code_that_another_function_or_a_version_names_stays(stage: Stage) -> None:
    package = await stage.package("1")
    await stage.put("f", package)
    await stage.put("g", package)
    await stage.delete("f")
    assert await stage.collect_later() == 0
    await stage.put("f", package)
    await stage.delete("g")
    assert await stage.collect_later() == 0
    assert stage.here() == {package.sha256}


async def test_changes_after_a_restart_count_too(stage: Stage) -> None:
    old, new = [await stage.package(text) for text in "12"]
    await stage.put("f", old)
    await stage.put("f", new)
    assert await stage.restart() == 0
    assert stage.here() == {old.sha256, new.sha256}
    assert await stage.collect_later() == 1
    assert stage.here() == {new.sha256}


async def test_what_was_taken_in_for_nothing_goes_after_a_while(stage: Stage) -> None:
    await stage.package("for a function that was refused")
    assert await stage.collector.collect() == 0
    assert await stage.collect_later() == 1
    assert stage.here() == set()


async def test_a_clean_stop_leaves_no_package_that_nothing_names(stage: Stage) -> None:
    kept, released = [await stage.package(text) for text in "12"]
    await stage.put("f", released)
    await stage.put("f", kept)
    await stage.package("for a function that was refused")
    await stage.collector.close()
    assert stage.here() == {kept.sha256, released.sha256}
    assert await stage.restart() == 0


async def test_a_package_of_a_living_instance_stays_until_the_instance_is_gone(stage: Stage) -> None:
    code, layer = [await stage.package(text) for text in "12"]
    await stage.put_layer(layer)
    await stage.put("f", code, (LAYER_ARN,))
    lease = await stage.packages.lease([code.sha256, layer.sha256])
    await stage.put_layer(layer, deleted=True)
    await stage.delete("f")
    assert await stage.collect_later() == 0
    assert stage.here() == {code.sha256, layer.sha256}
    lease.release()
    assert await stage.collect_later() == 2
    assert stage.here() == set()


async def test_a_deleted_layer_goes_with_the_last_function_that_has_it(stage: Stage) -> None:
    code, layer = [await stage.package(text) for text in "12"]
    await stage.put_layer(layer)
    await stage.put("f", code, (LAYER_ARN,))
    await stage.put_layer(layer, deleted=True)
    assert await stage.collect_later() == 0
    await stage.put("f", code)
    assert await stage.collect_later() == 1
    assert stage.here() == {code.sha256}


async def test_packages_of_an_emptied_or_older_catalog_are_never_deleted(stage: Stage) -> None:
    known, lost = [await stage.package(text) for text in "12"]
    await stage.put("f", known)
    older = await stage.database.read(lambda c: c.exec_driver_sql("SELECT document FROM records").scalar_one())
    await stage.put("g", lost)
    await stage.database.write(lambda c: c.exec_driver_sql("DELETE FROM records WHERE name = 'g'"))
    assert older
    assert await stage.restart() == 1
    assert await stage.collect_later() == 0
    assert stage.here() == {known.sha256}
    await stage.put("g", lost)
    assert await stage.restart() == 0
    assert stage.here() == {known.sha256, lost.sha256}


async def test_a_release_during_a_round_is_not_forgotten(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    package = await stage.package("1")
    await stage.put("f", package)
    await stage.put("g", package)
    await stage.delete("g")
    stage.now += LATER_S
    write = stage.database.write

    async def deleted_meanwhile(fn: object, **rest: object) -> object:
        monkeypatch.undo()
        await stage.delete("f")
        return await write(fn, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(stage.database, "write", deleted_meanwhile)
    await stage.collector.collect()
    assert package.sha256 in stage.here()
    assert await stage.collect_later() == 1
    assert stage.here() == set()


async def test_a_fault_of_the_disk_costs_one_round(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    package = await stage.package("1")
    await stage.put("f", package)
    await stage.delete("f")

    def full(_sha256: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(stage.packages.folder, "remove", full)
    assert await stage.collect_later() == 0
    monkeypatch.undo()
    assert await stage.collector.collect() == 1


async def test_rounds_and_deployments_do_not_disturb_each_other(stage: Stage) -> None:
    async def deploy() -> None:
        for number in range(30):
            await stage.put("f", await stage.package(str(number % 3)))
            stage.now += COLLECT_GRACE_S / 3

    async def collect() -> None:
        for _ in range(30):
            await stage.collector.collect()
            await asyncio.sleep(0)

    await asyncio.gather(deploy(), collect())
    record = stage.catalog.get(records.FUNCTION, "s", "f")
    assert record is not None
    assert stage.packages.code_dir(record.document.package).is_dir()
    assert msgspec.structs.asdict(record.document)["function_name"] == "f"
