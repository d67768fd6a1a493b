"""Sessions end by their times, and are then deleted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.databases import new_database

from sesame.control.inputs import Listing, SessionInput
from sesame.control.sessions import Sessions
from sesame.model import records
from sesame.model.errors import AlreadyExists, Invalid, NotFound
from sesame.model.function import Function, Package
from sesame.model.invocation import Target
from sesame.model.kinds import KINDS
from sesame.model.later_settings import LaterSettings
from sesame.model.limits import LATEST
from sesame.model.service import Service
from sesame.model.session import PAUSED, Session, is_over, session_parent
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
