"""How another process follows the catalog, and the outbox that is written in the same commit as its cause.

Run by pytest; the follower is a process of its own that opens the database for reading while it is written.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from sesame.model.errors import ConfigurationError
from sesame.model.records import Record
from sesame.store import outbox
from sesame.store.catalog import TOMBSTONE_AGE_S, Catalog, Changes, Transaction, changes_since
from sesame.store.sql.backends import backend_of
from sesame.store.sql.database import Database


class Thing(msgspec.Struct, frozen=True):
    value: int


KINDS = {"thing": Thing}


async def load(database: Database, now: list[float] | None = None) -> Catalog:
    catalog = Catalog(database, KINDS, clock=lambda: (now or [100.0])[0])
    await catalog.open()
    return catalog


async def put(catalog: Catalog, name: str, value: int = 1) -> None:
    await catalog.edit(lambda tx: tx.put("thing", "", name, Thing(value)))


async def delete(catalog: Catalog, name: str) -> None:
    await catalog.edit(lambda tx: tx.delete("thing", "", name))


def shown(changes: Changes | None) -> list[tuple[str, int | None]]:
    assert changes is not None
    return [
        (change.name, None if change.record is None else change.record.document.value) for change in changes.changes
    ]


async def test_changes_come_in_order_with_deletions_and_only_as_they_are_now(database: Database) -> None:
    catalog = await load(database)
    for name in "abc":
        await put(catalog, name)
    await put(catalog, "a", 2)
    await delete(catalog, "b")
    found = await catalog.changes_since(0)
    assert shown(found) == [("c", 1), ("a", 2), ("b", None)]
    assert found is not None
    assert (found.revision, found.more) == (5, False) == (catalog.revision, False)
    assert shown(await catalog.changes_since(4)) == [("b", None)]
    assert shown(await catalog.changes_since(5)) == []
    await put(catalog, "b", 3)
    assert shown(await catalog.changes_since(3)) == [("a", 2), ("b", 3)]


async def test_pages_add_up_to_everything(database: Database) -> None:
    catalog = await load(database)
    for number in range(7):
        await put(catalog, f"n{number}")
    await delete(catalog, "n3")
    seen: list[tuple[str, int | None]] = []
    revision, more = 0, True
    while more:
        page = await catalog.changes_since(revision, limit=3)
        assert page is not None
        assert page.revision > revision
        seen += shown(page)
        revision, more = page.revision, page.more
    assert seen == [*((f"n{number}", 1) for number in (0, 1, 2, 4, 5, 6)), ("n3", None)]


async def test_a_change_that_was_undone_takes_no_revision(database: Database) -> None:
    catalog = await load(database)

    def fails(tx: Transaction) -> None:
        tx.put("thing", "", "never", Thing(1))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await catalog.edit(fails)
    await put(catalog, "a")
    assert catalog.revision == 1
    assert shown(await catalog.changes_since(0)) == [("a", 1)]


async def test_revisions_go_on_after_a_restart(place: Path | str) -> None:
    for round_number in range(3):
        database = Database(place)
        await database.open()
        catalog = await load(database)
        assert catalog.revision == 2 * round_number
        await put(catalog, "a")
        await delete(catalog, "a")
        await database.close()


async def test_a_follower_behind_pruned_deletions_is_told_to_reload(database: Database) -> None:
    now = [100.0]
    catalog = await load(database, now)
    for name in "ab":
        await put(catalog, name)
    await delete(catalog, "a")
    now[0] += TOMBSTONE_AGE_S + 1
    await delete(catalog, "b")
    assert await catalog.prune() == 1
    assert await catalog.prune() == 0
    assert await catalog.changes_since(2) is None
    assert shown(await catalog.changes_since(3)) == [("b", None)]


FOLLOWER = """
import json, sys
from sesame.store.catalog import changes_since
from sesame.store.sql.backends import backend_of
from tests.store.test_following import KINDS
backend = backend_of(sys.argv[1])
revision, known = 0, {}
for line in sys.stdin:
    found = backend.follow(lambda connection: changes_since(connection, revision, kinds=KINDS))
    for change in found.changes:
        if change.record is None:
            known.pop(change.name, None)
        else:
            known[change.name] = change.record.document.value
    revision = found.revision
    print(json.dumps([revision, known]), flush=True)
"""


async def test_another_process_follows(database: Database, place: Path | str) -> None:
    catalog = await load(database)
    follower = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FOLLOWER, str(place),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert follower.stdin is not None
    assert follower.stdout is not None
    try:
        for number in range(20):
            await put(catalog, f"n{number % 7}", number)
            if number % 3 == 0:
                await delete(catalog, f"n{(number - 1) % 7}")
            follower.stdin.write(b"\n")
            revision, known = json.loads(await asyncio.wait_for(follower.stdout.readline(), 30))
            assert known == {record.name: record.document.value for record in catalog.children("thing", "")}
            assert revision == catalog.revision
    finally:
        follower.stdin.close()
        await asyncio.wait_for(follower.wait(), 30)


async def test_a_follower_cannot_write(database: Database, place: Path | str) -> None:
    await put(await load(database), "a")
    backend = backend_of(place)
    found = await asyncio.to_thread(backend.follow, lambda connection: changes_since(connection, 0, kinds=KINDS))
    assert shown(found) == [("a", 1)]
    with pytest.raises((sa.exc.DBAPIError, ConfigurationError), match=r"readonly|read-only"):
        await asyncio.to_thread(backend.follow, lambda connection: connection.exec_driver_sql("DELETE FROM records"))


def subjects(entries: list[outbox.Entry]) -> list[str]:
    return [entry.subject for entry in entries]


async def test_an_entry_stands_or_falls_with_its_change(database: Database) -> None:
    catalog = await load(database)

    def told(tx: Transaction, former: Record, document: Any) -> None:
        outbox.add(tx.connection, "changed", [f"{former.document.value} to {document and document.value}"], 100.0)

    catalog.on_replace(["thing"], told)
    await put(catalog, "a")

    def fails(tx: Transaction) -> None:
        tx.put("thing", "", "a", Thing(5))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await catalog.edit(fails)
    await put(catalog, "a", 2)
    await delete(catalog, "a")
    await delete(catalog, "a")
    found = await database.read(lambda connection: outbox.pending(connection, "changed"))
    assert subjects(found) == ["1 to 2", "2 to None"]
    assert [entry.id for entry in found] == sorted(entry.id for entry in found)
    await database.write(lambda connection: outbox.remove(connection, "changed", ["1 to 2", "unknown"]))
    assert subjects(await database.read(lambda connection: outbox.pending(connection, "changed"))) == ["2 to None"]
    assert await database.read(lambda connection: outbox.pending(connection, "other")) == []


async def test_ids_are_never_given_twice(database: Database) -> None:
    def one(connection: sa.Connection) -> int:
        outbox.add(connection, "t", ["s"], 1.0, b"payload")
        (entry,) = outbox.pending(connection, "t")
        outbox.remove(connection, "t", ["s"])
        assert entry.payload == b"payload"
        return entry.id

    given = [await database.write(one) for _ in range(3)]
    assert given == sorted(set(given))
