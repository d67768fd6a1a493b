"""Which calls are recorded, what of them, and that no secret is kept."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from sesame.control import recorder as module
from sesame.control.dependents import forget_function
from sesame.control.recorder import Recorder, recording_of
from sesame.model import records
from sesame.model.errors import Invalid, NotFound
from sesame.model.function import Function, Package
from sesame.model.invocation import Credentials, FunctionError, HeldLog, Invocation, Outcome, Phases, Target
from sesame.model.kinds import KINDS
from sesame.model.recording import PART_BYTES_MAX
from sesame.model.service import Service
from sesame.model.snapshot import Resolved, Snapshot, snapshot_of
from sesame.store.catalog import Catalog, Transaction
from sesame.store.recordings import Kept, Recordings
from sesame.store.sql.database import Database

KEYS = Credentials("STS.key-of-the-role", "secret-of-the-role", "token-of-the-role")
VARIABLES = {"PASSWORD": "correct horse battery", "STAGE": "prod"}
FUNCTION = Function(
    function_name="f", function_id="1", runtime="python3.12", handler="index.handler",
    package=Package(sha256="c" * 64, checksum="1", size_bytes=1), environment_variables=VARIABLES,
)  # fmt: skip


class Switched:
    """What the engine would be told."""

    def __init__(self) -> None:
        self.said: list[bool] = []

    def __call__(self, on: bool) -> None:
        self.said.append(on)


class Kit(msgspec.Struct):
    path: Path
    catalog: Catalog
    store: Recordings

    def recorder(self, mode: str = "none") -> tuple[Recorder, Switched]:
        recorder, switched = Recorder(self.catalog, self.store, mode, lambda: 7.0, b"key"), Switched()
        recorder.start(switched)
        return recorder, switched


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    database = Database(tmp_path / "db")
    await database.open()
    catalog = Catalog(database, KINDS)
    await catalog.open()

    def edit(tx: Transaction) -> None:
        tx.put(records.SERVICE, "", "demo", Service(service_name="demo", service_id="1"))
        tx.put(records.FUNCTION, "demo", "f", FUNCTION)

    await catalog.edit(edit)
    store = Recordings(database, Kept(1024 * 1024, 100.0), lambda: 7.0)
    await store.open()
    yield Kit(tmp_path / "db", catalog, store)
    await store.close()
    await database.close()


def snapshot() -> Snapshot:
    return snapshot_of(Service(service_name="demo", service_id="1"), FUNCTION, Resolved("k", "LATEST"))


def call(request_id: str = "r", event: bytes = b"{}", http: dict[str, object] | None = None) -> Invocation:
    return Invocation(request_id, Target("demo", "LATEST", "f"), event, http_params=http)


def outcome(payload: bytes = b"ok", log: bytes = b"", *, failed: bool = False) -> Outcome:
    error = FunctionError("UnhandledInvocationError", "unhandled") if failed else None
    return Outcome(payload, error, 2.0, 30.0, log, "c-1", "LATEST", "1", False, Phases())


async def test_nothing_is_recorded_unless_it_is_asked_for(kit: Kit) -> None:
    recorder, switched = kit.recorder()
    assert switched.said == [False]
    await recorder.record(call(), snapshot(), KEYS, outcome())
    assert await recorder.list("", "", None, 10) == []


@pytest.mark.parametrize(("mode", "kept"), [("all", ["bad", "good"]), ("failed", ["bad"]), ("none", [])])
async def test_the_servers_setting(kit: Kit, mode: str, kept: list[str]) -> None:
    recorder, switched = kit.recorder(mode)
    assert switched.said == [mode != "none"]
    await recorder.record(call("good"), snapshot(), KEYS, outcome())
    await recorder.record(call("bad"), snapshot(), KEYS, outcome(failed=True))
    assert [each.request_id for each in await recorder.list("", "", None, 10)] == kept


async def test_a_functions_own_setting_outweighs_the_servers(kit: Kit) -> None:
    recorder, switched = kit.recorder()
    await recorder.set("demo", "f", "all")
    assert (switched.said, recorder.mode_of("demo", "f"), recorder.mode_of("demo", "g")) == (
        [False, True],
        "all",
        "none",
    )
    await recorder.record(call(), snapshot(), KEYS, outcome())
    assert len(await recorder.list("demo", "f", None, 10)) == 1
    await recorder.set("demo", "f", None)
    assert (switched.said[-1], recorder.is_set("demo", "f")) == (False, False)
    again, switched = kit.recorder("all")
    await again.set("demo", "f", "none")
    await again.record(call("other"), snapshot(), KEYS, outcome())
    assert len(await again.list("", "", None, 10)) == 1
    assert switched.said == [True, True]


async def test_wrong_settings_are_refused(kit: Kit) -> None:
    recorder, _switched = kit.recorder()
    with pytest.raises(Invalid):
        await recorder.set("demo", "f", "some")
    with pytest.raises(NotFound):
        await recorder.set("demo", "g", "all")


async def test_a_setting_goes_with_its_function(kit: Kit) -> None:
    recorder, switched = kit.recorder()
    await recorder.set("demo", "f", "all")
    await kit.catalog.edit(lambda tx: forget_function(tx, "demo", "f"))
    assert switched.said == [False, True, False]


async def test_a_recording_is_on_the_disk_when_its_call_is_answered(kit: Kit) -> None:
    recorder, _switched = kit.recorder("all")
    await asyncio.gather(*(recorder.record(call(f"r-{n}"), snapshot(), KEYS, outcome()) for n in range(5)))
    with contextlib.closing(sqlite3.connect(kit.path)) as other:
        assert other.execute("SELECT count(*) FROM recordings").fetchone() == (5,)


async def test_a_call_waits_for_a_slow_disk_no_longer_than_is_said(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITTEN_WITHIN_S", 0.01)
    monkeypatch.setattr(kit.store, "take", lambda _recording: asyncio.get_running_loop().create_future())
    recorder, _switched = kit.recorder("all")
    await recorder.record(call(), snapshot(), KEYS, outcome())


async def test_the_whole_log_is_kept_and_what_is_cut_of_it_is_told(kit: Kit) -> None:
    recorder, _switched = kit.recorder("all")
    said = b"correct horse battery\n" * 10_000
    await recorder.record(
        call(), snapshot(), KEYS, msgspec.structs.replace(outcome(log=b"the end"), log=HeldLog(said, 12))
    )
    kept = (await recorder.find("r")).outcome
    assert (kept.log, kept.log_cut_bytes) == (b"***\n" * 10_000, 12)


async def test_variables_that_have_another_value_are_named_and_no_value_is_kept(kit: Kit) -> None:
    recorder, _switched = kit.recorder("all")
    await recorder.record(call(), snapshot(), KEYS, outcome())
    kept = await recorder.find("r")
    assert recorder.changed_variables(kept, VARIABLES) == ()
    assert recorder.changed_variables(kept, {"PASSWORD": "other", "NEW": "1"}) == ("PASSWORD",)
    other = Recorder(kit.catalog, kit.store, "all", lambda: 7.0, b"another key")
    assert other.changed_variables(kept, VARIABLES) == ("PASSWORD", "STAGE")


def test_no_secret_is_kept() -> None:
    said = b"password correct horse battery, key secret-of-the-role token-of-the-role STS.key-of-the-role, prod"
    http: dict[str, object] = {
        "path": "/", "headers": [["Authorization", "Bearer abc"], ["cookie", "session=1"], ["X-Mine", "shown"]],
    }  # fmt: skip
    found = recording_of(call(http=http), snapshot(), KEYS, outcome(said, said), {"PASSWORD": "d1", "STAGE": "d2"}, 7.0)
    assert found.environment == ("PASSWORD", "STAGE")
    assert found.outcome.log == found.outcome.result == b"password ***, key *** *** ***, prod"
    whole = msgspec.msgpack.encode(found)
    for secret in (b"horse", b"secret-of", b"token-of", b"STS.key", b"Bearer", b"session=1"):
        assert secret not in whole
    assert b"X-Mine" in whole


def test_what_is_too_large_is_measured_and_not_kept() -> None:
    large = b"x" * (PART_BYTES_MAX + 1)
    found = recording_of(call(event=large), snapshot(), KEYS, outcome(large), {}, 7.0)
    assert (found.event, found.event_bytes) == (None, len(large))
    assert (found.outcome.result, found.outcome.result_bytes) == (None, len(large))


async def test_a_call_does_not_fail_because_it_cannot_be_recorded(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, _switched = kit.recorder("all")

    def broken(_recording: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(kit.store, "take", broken)
    await recorder.record(call(), snapshot(), KEYS, outcome())
