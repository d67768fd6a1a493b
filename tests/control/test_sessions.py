"""Sessions end by their times, and are then deleted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.databases import new_database

from sesame.control import sessions as module
from sesame.control.inputs import Listing, SessionInput
from sesame.control.sessions import Sessions
from sesame.model import records
from sesame.model.errors import AlreadyExists, Exhausted, Invalid, NotFound
from sesame.model.function import Function, Package
from sesame.model.invocation import Target
from sesame.model.kinds import KINDS
from sesame.model.later_settings import LaterSettings
from sesame.model.limits import LATEST
from sesame.model.records import Record
from sesame.model.service import Service
from sesame.model.session import PAUSED, Session, SessionKey, is_over, session_parent
from sesame.model.session_affinity import GENERATED_COOKIE, HEADER_FIELD, SessionAffinity
from sesame.store.catalog import Catalog
from sesame.store.sql.database import Database

START = 1_700_000_000.0
OWNER, FUNCTION = "s", "f"
TARGET = Target(OWNER, LATEST, FUNCTION)
LATER = LaterSettings(
    session_affinity="HEADER_FIELD", session_affinity_config='{"affinityHeaderFieldName": "my-session"}'
)


class Stage:
    """A function with session affinity, and a clock that only tests move."""

    def __init__(self, catalog: Catalog, now: list[float]) -> None:
        self.catalog = catalog
        self.now = now
        self.sessions = Sessions(catalog, lambda: now[0])

    async def create(self, session_id: str, **values: int | bool) -> None:
        await self.sessions.create(OWNER, FUNCTION, "", SessionInput(session_id=session_id, **values))  # type: ignore[arg-type]

    async def listed(self) -> list[str]:
        return [each.name for each in (await self.sessions.list(OWNER, FUNCTION, Listing(), lambda _each: True)).items]

    def stored(self) -> list[str]:
        return [each.name for each in self.catalog.children(records.SESSION, session_parent(OWNER, FUNCTION))]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    now = [START]
    database = Database(new_database(tmp_path / "db"))
    await database.open()
    catalog = Catalog(database, KINDS, clock=lambda: now[0])
    await catalog.open()
    function = Function(
        function_name=FUNCTION,
        function_id="1",
        runtime="python3",
        handler="index.handler",
        package=Package(sha256="", checksum="", size_bytes=0),
        later=LATER,
    )
    await catalog.edit(lambda tx: tx.put(records.SERVICE, "", OWNER, Service(service_name=OWNER, service_id="2")))
    await catalog.edit(lambda tx: tx.put(records.FUNCTION, OWNER, FUNCTION, function))
    yield Stage(catalog, now)
    await database.close()


def session(**values: object) -> Session:
    plain = {"session_id": "a", "qualifier": "LATEST", "affinity_type": "HEADER_FIELD"}
    return Session(**{**plain, "idle_timeout_s": 10, "ttl_s": 100, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "used_at", "now", "over"),
    [
        ({}, 0.0, 9.9, False),
        ({}, 0.0, 10.0, True),
        ({}, 50.0, 59.9, False),
        ({}, 99.0, 100.0, True),
        ({"idle_timeout_s": 0}, 0.0, 99.9, False),
        ({"idle_timeout_s": 0}, 0.0, 100.0, True),
        ({"status": PAUSED}, 0.0, 99.9, False),
        ({"status": PAUSED}, 0.0, 100.0, True),
    ],
)
def test_a_session_ends_by_idleness_or_by_age(
    changes: dict[str, object], used_at: float, now: float, over: bool
) -> None:
    assert is_over(session(**changes), 0.0, used_at, now) is over


async def test_what_expired_is_not_shown_and_then_deleted(stage: Stage) -> None:
    await stage.create("idle", idle_timeout_s=10)
    await stage.create("aged", idle_timeout_s=0, ttl_s=50)
    await stage.create("kept")
    assert await stage.sessions.sweep() == 0
    stage.now[0] += 10
    assert await stage.listed() == ["aged", "kept"]
    with pytest.raises(NotFound):
        await stage.sessions.get(TARGET, "idle")
    with pytest.raises(NotFound):
        await stage.sessions.update(TARGET, "idle", SessionInput(ttl_s=1000))
    assert stage.stored() == ["aged", "idle", "kept"]
    assert await stage.sessions.sweep() == 1
    assert stage.stored() == ["aged", "kept"]
    stage.now[0] += 40
    assert await stage.sessions.sweep() == 1
    assert stage.stored() == await stage.listed() == ["kept"]


async def test_a_change_is_a_use(stage: Stage) -> None:
    await stage.create("a", idle_timeout_s=10)
    stage.now[0] += 9
    await stage.sessions.update(TARGET, "a", SessionInput(ttl_s=100))
    stage.now[0] += 9
    assert await stage.listed() == ["a"]


async def test_an_id_may_be_used_again_unless_its_session_says_otherwise(stage: Stage) -> None:
    await stage.create("free", ttl_s=10)
    await stage.create("barred", ttl_s=10, disable_id_reuse=True)
    with pytest.raises(AlreadyExists):
        await stage.create("free")
    stage.now[0] += 10
    for _time in range(2):
        with pytest.raises(Invalid, match="disableSessionIdReuse"):
            await stage.create("barred")
        await stage.sessions.sweep()
    assert (stage.stored(), await stage.listed()) == (["barred"], [])
    assert await stage.sessions.sweep() == 0
    await stage.create("free")
    assert await stage.listed() == ["free"]


def affinity(kind: str = HEADER_FIELD, *, disable_id_reuse: bool = False) -> SessionAffinity:
    return SessionAffinity(kind, 1, idle_timeout_s=10, ttl_s=100, disable_id_reuse=disable_id_reuse)


async def test_a_function_has_so_many_sessions(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 2)
    for session_id in "ab":
        await stage.sessions.of_call(TARGET, affinity(), session_id)
    for begin in (stage.sessions.of_call(TARGET, affinity(), "c"), stage.create("c")):
        with pytest.raises(Exhausted, match="'f' has 2 sessions"):
            await begin
    assert (await stage.sessions.of_call(TARGET, affinity(), "a")).name == "a"
    # One that has expired is replaced, and makes room when it is swept out.
    stage.now[0] += 10
    await stage.sessions.of_call(TARGET, affinity(), "a")
    with pytest.raises(Exhausted):
        await stage.create("c")
    await stage.sessions.sweep()
    await stage.create("c")


async def test_so_many_ids_are_kept_for_not_being_used_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 2)
    for number in range(4):
        await stage.sessions.of_call(TARGET, affinity(disable_id_reuse=True), f"s{number}")
        stage.now[0] += 10
        assert await stage.sessions.sweep() == 1
    assert await stage.sessions.sweep() == 0
    assert stage.stored() == ["s2", "s3"]
    await stage.sessions.of_call(TARGET, affinity(disable_id_reuse=True), "s4")


async def test_the_id_of_a_cookie_is_not_kept_and_not_taken_again(stage: Stage) -> None:
    cookie = affinity(GENERATED_COOKIE, disable_id_reuse=True)
    first = await stage.sessions.of_call(TARGET, cookie, "")
    assert (await stage.sessions.of_call(TARGET, cookie, first.name)).name == first.name
    stage.now[0] += 10
    assert await stage.sessions.sweep() == 1
    assert stage.stored() == []
    assert (await stage.sessions.of_call(TARGET, cookie, first.name)).name != first.name


async def test_many_are_swept_out_in_several_transactions(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEPT_AT_ONCE", 2)
    for session_id in "abcde":
        await stage.create(session_id, ttl_s=10)
    stage.now[0] += 10
    edit, edits = stage.catalog.edit, []
    monkeypatch.setattr(stage.catalog, "edit", lambda change: (edits.append(change), edit(change))[1])
    assert await stage.sessions.sweep() == 5
    assert (stage.stored(), len(edits)) == ([], 3)


async def test_a_start_of_the_server_is_a_use(stage: Stage) -> None:
    await stage.create("a", idle_timeout_s=10)
    stage.now[0] += 50
    again = Sessions(stage.catalog, lambda: stage.now[0])
    assert await again.sweep() == 0
    stage.now[0] += 10
    assert await again.sweep() == 1


async def test_a_session_is_there_until_it_is_deleted_swept_out_or_made_anew(stage: Stage) -> None:
    def key(record: Record) -> SessionKey:
        return SessionKey(record.parent, record.name, record.created_at)

    first = key(await stage.sessions.of_call(TARGET, affinity(disable_id_reuse=True), "a"))
    assert stage.sessions.is_there(first)
    stage.now[0] += 10
    await stage.sessions.sweep()
    assert not stage.sessions.is_there(first)
    second = key(await stage.sessions.of_call(TARGET, affinity(), "b"))
    await stage.sessions.delete(TARGET, "b")
    assert not stage.sessions.is_there(second)
    stage.now[0] += 1
    third = key(await stage.sessions.of_call(TARGET, affinity(), "b"))
    assert (stage.sessions.is_there(second), stage.sessions.is_there(third)) == (False, True)
