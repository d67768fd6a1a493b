"""Which triggers never fire here, and that the log says so when they are made and at every start.

Run by pytest over a real catalog.
"""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.control.test_triggers import ALL
from tests.support.databases import new_database

from sesame.model import records
from sesame.model.kinds import KINDS
from sesame.model.trigger import Trigger
from sesame.model.trigger_firing import DISABLED, why_silent
from sesame.store.catalog import Catalog
from sesame.store.sql.database import Database
from sesame.triggers.silent import NAMED_MAX, tell_silent_triggers

FIRING = {"http", "timer", "oss", "log"}


@pytest.mark.parametrize("kind", sorted(ALL))
def test_types_that_nothing_here_raises_have_a_reason(kind: str) -> None:
    assert bool(why_silent(kind, ALL[kind] | {"enable": True})) == (kind not in FIRING)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("timer", {"cronExpression": "@every 1m", "enable": False}),
        ("oss", {"events": ["oss:ObjectCreated:*"], "enable": False}),
        ("log", {"sourceConfig": {"logstore": "l"}, "enable": False}),
    ],
)
def test_what_its_owner_disabled_is_told_apart(kind: str, config: dict[str, Any]) -> None:
    assert why_silent(kind, config) == DISABLED


def test_events_of_objects_that_are_never_raised() -> None:
    assert "oss:ObjectReplication:*" in why_silent("oss", {"events": ["oss:ObjectReplication:*"]})
    assert why_silent("oss", {"events": ["oss:ObjectReplication:*", "oss:ObjectRemoved:DeleteObject"]}) == ""


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ({"prefix": "/in/"}, "no object's key begins with '/'"),
        ({"prefix": "\\"}, "no object's key begins with"),
        ({"prefix": "ü" * 512}, "its prefix is longer than any object's key"),
        ({"suffix": "s" * 1024}, "its suffix is longer than any object's key"),
        ({"prefix": "p" * 1023, "suffix": "/"}, ""),
    ],
)
def test_filters_that_no_key_matches(key: dict[str, str], reason: str) -> None:
    said = why_silent("oss", {"events": ["oss:ObjectCreated:*"], "filter": {"key": key}})
    assert said.startswith(reason) if reason else not said


async def test_the_log_says_so_at_the_start_and_for_each_new_one(tmp_path: Path) -> None:
    database = Database(new_database(tmp_path / "db"))
    await database.open()
    catalog = Catalog(database, KINDS)
    await catalog.open()

    def objection(service: str, function: str, trigger: Trigger) -> str:
        assert (service, function) == ("s", "f")
        return f"no role {trigger.invocation_role}" if trigger.invocation_role else ""

    async def put(name: str, kind: str, **values: Any) -> None:
        role = values.pop("role", "")
        trigger = Trigger(name, name, kind, {**ALL[kind], **values}, invocation_role=role)
        await catalog.edit(lambda tx: tx.put(records.TRIGGER, "s/f", name, trigger))

    for number in range(NAMED_MAX + 2):
        await put(f"database{number:02}", "rds")
    await put("mail", "mns_topic")
    await put("clock", "timer")
    with capture_logs() as at_start:
        tell_silent_triggers(catalog, objection)
    assert [(entry["count"], entry["log_level"]) for entry in at_start] == [(NAMED_MAX + 2, "warning"), (1, "warning")]
    assert at_start[0]["triggers"].endswith("s/f/database09 …")
    assert at_start[1]["triggers"] == "s/f/mail"
    assert "Message Service" in at_start[1]["reason"]
    with capture_logs() as later:
        await put("table", "tablestore")
        await put("clock2", "timer")
        await put("clock2", "timer", enable=False)
        await catalog.edit(lambda tx: tx.delete(records.TRIGGER, "s/f", "table"))
        await put("clock3", "timer", role="x")
        await put("clock4", "timer", role="x", enable=False)
    told, of_role = later
    assert (of_role["trigger"], of_role["reason"]) == ("s/f/clock3", "no role x")
    assert (told["trigger"], told["type"]) == ("s/f/table", "tablestore")
    assert "sesame triggers fire" in told["next_step"]
    await database.close()
