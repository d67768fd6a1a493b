"""What was acknowledged is there after kill -9 at any moment: records and packages.

The child process calls `main` of this file.
Never waits for a fixed time: the moment of death is a number of acknowledgements, and some more output.
"""

import asyncio
import random
import sys
from pathlib import Path

import msgspec
import pytest
from tests.support import forked

from sesame.store.catalog import Catalog, Transaction
from sesame.store.packages.packages import Packages
from sesame.store.sql.database import Database

# By database: in `make test`, and by `make test-all`.
ROUNDS = [{"sqlite": 6, "postgresql": 3}, pytest.param({"sqlite": 15, "postgresql": 6}, marks=pytest.mark.thorough)]
WRITERS = 4


class Counted(msgspec.Struct, frozen=True):
    value: int


KINDS = {"counted": Counted}


def archive_of(number: int) -> bytes:
    from tests.support import zips

    return zips.zip_of({f"f{n}.py": f"x = {number}\n" for n in range(20)})


def acknowledge(what: str, name: str, value: int) -> None:
    sys.stdout.write(f"{what} {name} {value}\n")
    sys.stdout.flush()


async def write_forever(root: Path, place: str) -> None:
    """Two records a transaction and a deletion now and then from each writer, and packages one after the other."""
    database = Database(place)
    await database.open()
    catalog = Catalog(database, KINDS)
    await catalog.open()
    packages = Packages(root / "packages")
    await packages.open()

    async def count(name: str) -> None:
        record = catalog.get("counted", "", name)
        value = 0 if record is None else record.document.value
        while True:
            value += 1

            def edit(tx: Transaction, value: int = value) -> None:
                tx.put("counted", "", name, Counted(value))
                tx.put("counted", "twin", name, Counted(value))
                tx.put("counted", name, str(value), Counted(value))
                tx.delete("counted", name, str(value - 3))

            await catalog.edit(edit)
            acknowledge("record", name, value)

    async def pack() -> None:
        number = random.randrange(10**9)
        while True:
            number += 1
            package = await packages.add(archive_of(number), "python3")
            acknowledge("package", package.sha256, number)

    await asyncio.gather(*(count(f"w{n}") for n in range(WRITERS)), pack())


def run_and_kill(root: Path, place: str, after: int) -> list[list[str]]:
    """What the child said before it was killed, some time after its `after`th acknowledgement."""
    said = forked.call_and_kill("tests.store.test_kill:main", str(root), place, after=after, counts=acknowledges)
    return [line.decode().split() for line in said]


def acknowledges(line: bytes) -> bool:
    return line.startswith((b"record ", b"package "))


def main(root: str, place: str) -> None:
    asyncio.run(write_forever(Path(root), place))


@pytest.mark.parametrize("rounds", ROUNDS, ids=["some", "more"])
async def test_nothing_acknowledged_is_lost(tmp_path: Path, place: Path | str, rounds: dict[str, int]) -> None:
    chance = random.Random(20)
    newest: dict[str, int] = {}
    packed: set[str] = set()
    for _ in range(rounds["postgresql" if isinstance(place, str) else "sqlite"]):
        for what, name, value in await asyncio.to_thread(run_and_kill, tmp_path, str(place), chance.randrange(1, 60)):
            if what == "record":
                newest[name] = int(value)
            else:
                packed.add(name)
        await check(tmp_path, place, newest, packed)
    assert len(newest) == WRITERS
    assert packed


async def check(root: Path, place: Path | str, newest: dict[str, int], packed: set[str]) -> None:
    database = Database(place)
    await database.open()
    catalog = Catalog(database, KINDS)
    await catalog.open()
    for name, acknowledged in newest.items():
        found, twin = catalog.get("counted", "", name), catalog.get("counted", "twin", name)
        assert found is not None
        assert twin is not None
        value = found.document.value
        # One more may have been committed, but not a part of it.
        assert value in (acknowledged, acknowledged + 1)
        assert twin.document.value == value
        assert {r.document.value for r in catalog.children("counted", name)} == set(range(max(1, value - 2), value + 1))
        newest[name] = value
    await database.close()
    packages = Packages(root / "packages")
    await packages.open()
    folders = {path.name: path for path in (root / "packages").iterdir() if len(path.name) == 64}
    assert packed <= set(folders)
    for folder in folders.values():
        assert (folder / "archive.zip").stat().st_size > 0
        assert len(list((folder / "code").glob("f*.py"))) == 20
    assert not list((root / "packages" / "staging").iterdir())
