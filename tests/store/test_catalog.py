"""The catalog: a stateful comparison with a dictionary, its transactions, its news and its pages.

Run by pytest.
Never reaches below the catalog's public names.
"""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.support.databases import new_database

from sesame.model.errors import ConfigurationError
from sesame.store.catalog import Catalog, Change, Transaction
from sesame.store.sql.database import Database

T = TypeVar("T")


class Thing(msgspec.Struct, frozen=True):
    value: int


class Other(msgspec.Struct, frozen=True):
    text: str


KINDS = {"thing": Thing, "other": Other}


async def load(database: Database, clock: Callable[[], float] = lambda: 100.0) -> Catalog:
    catalog = Catalog(database, KINDS, clock=clock)
    await catalog.open()
    return catalog


async def test_records_keep_creation_and_change_etag_and_time(database: Database) -> None:
    now = [100.0]
    catalog = await load(database, lambda: now[0])
    first = await catalog.edit(lambda tx: tx.put("thing", "p", "n", Thing(1)))
    second = await catalog.edit(lambda tx: tx.put("thing", "p", "n", Thing(2)))
    now[0] = 50.0
    third = await catalog.edit(lambda tx: tx.put("thing", "p", "n", Thing(2)))
    assert catalog.get("thing", "p", "n") == third
    assert first.created_at == second.created_at == third.created_at == 100.0
    assert first.modified_at < second.modified_at < third.modified_at
    assert len({first.etag, second.etag, third.etag}) == 3
    assert all(len(r.etag) == 32 and int(r.etag, 16) >= 0 for r in (first, second, third))


async def test_an_edit_sees_itself_and_is_undone_whole(database: Database) -> None:
    catalog = await load(database)

    def edit(tx: Transaction) -> None:
        tx.put("thing", "", "b", Thing(1))
        tx.put("thing", "", "a", Thing(2))
        assert [r.name for r in tx.children("thing", "")] == ["a", "b"]
        tx.delete("thing", "", "b")
        assert tx.get("thing", "", "b") is None
        assert tx.count("thing", "") == 1
        raise RuntimeError("undo")

    with pytest.raises(RuntimeError, match="undo"):
        await catalog.edit(edit)
    assert catalog.count("thing", "") == 0
    assert catalog.revision == 0
    assert await catalog.edit(lambda tx: tx.count("thing", "")) == 0


async def test_listeners_are_called_after_the_whole_transaction(database: Database) -> None:
    catalog = await load(database)
    seen: list[tuple[Change, int]] = []
    catalog.on_change(lambda change: seen.append((change, catalog.count("thing", ""))))

    def edit(tx: Transaction) -> None:
        tx.put("thing", "", "a", Thing(1))
        tx.put("thing", "", "b", Thing(1))

    await catalog.edit(edit)
    assert [(change.name, count) for change, count in seen] == [("a", 2), ("b", 2)]
    assert catalog.revision == 2
    await catalog.edit(lambda tx: tx.delete("thing", "", "a"))
    await catalog.edit(lambda tx: tx.delete("thing", "", "none"))
    assert seen[2][0] == Change("thing", "", "a", None, revision=3)
    assert len(seen) == 3


async def test_a_failing_listener_affects_no_other(database: Database) -> None:
    catalog = await load(database)
    heard: list[str] = []

    def fail(change: Change) -> None:
        raise ValueError(change.name)

    catalog.on_change(fail)
    catalog.on_change(lambda change: heard.append(change.name))
    await asyncio.wait_for(catalog.edit(lambda tx: tx.put("thing", "", "a", Thing(1))), 30)
    assert heard == ["a"]


async def test_pages_by_prefix_start_and_limit(database: Database) -> None:
    catalog = await load(database)
    names = ["abc", "abd", "ade", "bcd", "bde", "zzz"]

    def fill(tx: Transaction) -> None:
        for name in reversed(names):
            tx.put("thing", "p", name, Thing(1))

    await catalog.edit(fill)

    def page(**wanted: Any) -> tuple[list[str], str | None]:
        items, following = catalog.page("thing", "p", **wanted)
        return [r.name for r in items], following

    assert page(limit=2, start="b") == (["bcd", "bde"], "zzz")
    assert page(limit=2, prefix="a") == (["abc", "abd"], "ade")
    assert page(limit=3, prefix="a") == (["abc", "abd", "ade"], None)
    assert page(limit=2, prefix="ab", start="abd") == (["abd"], None)
    assert page(limit=2, prefix="x", start="zzz") == ([], None)
    assert page(limit=6) == (names, None)
    assert [r.name for r in catalog.children("thing", "p")] == names
    assert catalog.page("thing", "elsewhere", limit=1) == ([], None)
    assert [r.name for r in catalog.of_kind("thing")] == names


async def test_documents_of_another_time_are_refused_with_their_name(database: Database) -> None:
    catalog = await load(database)
    await catalog.edit(lambda tx: tx.put("thing", "p", "n", Thing(1)))
    with pytest.raises(ConfigurationError, match="unknown kind 'thing'"):
        await Catalog(database, {"other": Other}).open()
    with pytest.raises(ConfigurationError, match="thing 'n' \\(under 'p'\\)"):
        await Catalog(database, {"thing": Other}).open()


async def test_a_document_of_the_wrong_type_is_not_written(database: Database) -> None:
    catalog = await load(database)
    with pytest.raises(AssertionError, match="thing holds Thing"):
        await catalog.edit(lambda tx: tx.put("thing", "", "n", Other("x")))
    assert catalog.count("thing", "") == 0


NAMES = st.text(alphabet="aAbZ_-09é中\U0001f600", min_size=1, max_size=4)
PARENTS = st.sampled_from(["", "p", "p.1"])
STEPS = st.lists(st.tuples(NAMES, st.one_of(st.none(), st.integers(0, 9))), min_size=1, max_size=5)


class CatalogMachine(RuleBasedStateMachine):
    """Edits, failed edits and reopening, beside a dictionary that does the same."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[tuple[str, str], int] = {}
        self.path = new_database(Path(self.folder.name, "db"))
        self.open()

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(step)

    def open(self) -> None:
        self.database = Database(self.path)
        self.run(self.database.open())
        self.catalog = self.run(load(self.database))

    @rule(parent=PARENTS, steps=STEPS, fails=st.booleans())
    def edit(self, parent: str, steps: list[tuple[str, int | None]], fails: bool) -> None:
        def change(tx: Transaction) -> None:
            for name, value in steps:
                if value is None:
                    tx.delete("thing", parent, name)
                else:
                    tx.put("thing", parent, name, Thing(value))
            if fails:
                raise InterruptedError

        try:
            self.run(self.catalog.edit(change))
        except InterruptedError:
            return
        for name, value in steps:
            if value is None:
                self.model.pop((parent, name), None)
            else:
                self.model[parent, name] = value

    @rule()
    def reopen(self) -> None:
        before = {r.name: r for r in self.catalog.of_kind("thing")}
        self.run(self.database.close())
        self.open()
        assert {r.name: r for r in self.catalog.of_kind("thing")} == before

    @rule(
        parent=PARENTS,
        prefix=st.one_of(st.just(""), NAMES),
        start=st.one_of(st.just(""), NAMES),
        limit=st.integers(1, 4),
    )
    def page(self, parent: str, prefix: str, start: str, limit: int) -> None:
        wanted = sorted(n for p, n in self.model if p == parent and n.startswith(prefix) and n >= start)
        items, following = self.catalog.page("thing", parent, prefix=prefix, start=start, limit=limit)
        assert [r.name for r in items] == wanted[:limit]
        assert following == (wanted[limit] if len(wanted) > limit else None)

    @invariant()
    def memory_equals_model(self) -> None:
        assert {(r.parent, r.name): r.document.value for r in self.catalog.of_kind("thing")} == self.model
        for parent in ("", "p", "p.1"):
            expected = sorted(n for p, n in self.model if p == parent)
            assert [r.name for r in self.catalog.children("thing", parent)] == expected
            assert self.catalog.count("thing", parent) == len(expected)

    def teardown(self) -> None:
        self.run(self.database.close())
        self.loop.close()
        self.folder.cleanup()


TestCatalogMachine = CatalogMachine.TestCase
TestCatalogMachine.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
