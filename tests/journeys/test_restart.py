"""`sesame restart` and `upgrade`: Sesame starts again in its process, and whoever calls meanwhile is answered then."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from benchmarks.restart import Load, calling
from benchmarks.servers import Endpoint
from tests.journeys.conftest import ACCOUNT_ID, KEY_ID, REGION, SECRET, Sesame, running, wait_until
from tests.support.installed import INSTALLED

RUNTIME = "python3.12"
PATIENCE_S = 120.0
CODE = """
import time

def my_handler(event, context):
    time.sleep(float(event or 0))
    return "slept"
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "sesame.toml"
    path.write_text("drain_s = 60.0\n")
    return path


@pytest.fixture(scope="module")
def restarting(tmp_path_factory: pytest.TempPathFactory, config: Path) -> Iterator[Sesame]:
    """One that has its own command line, as from a shell, and whose version is what a file says at its start."""
    folder = tmp_path_factory.mktemp("restart")
    program = INSTALLED.format(version=config.with_name("version"))
    config.with_name("version").write_text("1.0.0")
    (folder / "code").mkdir()
    (folder / "code" / "main.py").write_text(CODE)
    with running(folder, "--config", str(config), runtime=RUNTIME, program=("-c", program)) as made:
        client = made.client()
        client.create_service("s")
        client.create_function(
            "s", "f", RUNTIME, "main.my_handler", codeDir=str(folder / "code"), timeout=60, memorySize=128
        )
        yield made


def endpoints(sesame: Sesame) -> dict[str, Any]:
    path = sesame.data_dir / "endpoints.json"
    wait_until(path.exists, "endpoints.json", PATIENCE_S)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def restart(sesame: Sesame, *options: str, command: str = "restart", expect: int = 0) -> str:
    """What the command says, or with --json prints."""
    words = [sys.executable, "-m", "sesame", command, "--data-dir", str(sesame.data_dir), *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == expect, done.stderr
    return done.stdout or done.stderr


def test_calls_during_an_upgrade_wait_and_none_fails_and_both_versions_are_named(
    restarting: Sesame, config: Path
) -> None:
    before = endpoints(restarting)
    port = int(before["fc"].rsplit(":", 1)[1])
    endpoint = Endpoint(port, ACCOUNT_ID, REGION, KEY_ID, SECRET, restarting.pid)
    with calling(Load(port, (endpoint.signed_invocation("s", "f"),), rate=2.0)) as callers:
        config.with_name("version").write_text("1.0.1")
        said = restart(restarting, command="upgrade")
        seen = callers.stop()
    after = endpoints(restarting)
    assert seen.failed == {}
    assert len(seen.waits_s) > 1
    assert said.startswith("Sesame 1.0.0 ran, Sesame 1.0.1 runs now.\n")
    assert "ready again" in said
    assert (before["version"], after["version"]) == ("1.0.0", "1.0.1")
    assert after["pid"] == before["pid"]
    assert after["started_at"] > before["started_at"]
    assert after["fc"] == before["fc"]


@pytest.mark.thorough
def test_a_version_that_does_not_know_the_database_is_refused_and_the_one_that_runs_goes_on(
    restarting: Sesame,
) -> None:
    before = endpoints(restarting)
    with contextlib.closing(sqlite3.connect(restarting.data_dir / "sesame.db", isolation_level=None)) as database:
        (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        try:
            assert "was written by a newer Sesame" in restart(restarting, command="upgrade", expect=1)
        finally:
            database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    assert endpoints(restarting)["started_at"] == before["started_at"]
    assert restarting.client().invoke_function("s", "f", b"0").data == b"slept"


@pytest.mark.thorough
def test_a_call_that_runs_ends_before(restarting: Sesame) -> None:
    answers: list[bytes] = []
    client = restarting.client()
    call = threading.Thread(target=lambda: answers.append(client.invoke_function("s", "f", b"3").data))
    call.start()
    wait_until(lambda: bool(restarting.instances()), "the call's instance", PATIENCE_S)
    told = json.loads(restart(restarting, "--json"))
    assert (told["pid"], told["fc"]) == (restarting.pid, endpoints(restarting)["fc"])
    call.join(PATIENCE_S)
    assert answers == [b"slept"]


@pytest.mark.thorough
def test_with_settings_that_do_not_hold_it_goes_on_as_it_is(restarting: Sesame, config: Path) -> None:
    before, settings = endpoints(restarting), config.read_text()
    config.write_text('drain_s = "long"\n')
    try:
        assert "drain_s" in restart(restarting, expect=1)
    finally:
        config.write_text(settings)
    assert endpoints(restarting)["started_at"] == before["started_at"]
    assert restarting.client().invoke_function("s", "f", b"0").data == b"slept"


@pytest.mark.thorough
def test_told_to_stop_while_it_restarts_it_stops_once_running_calls_have_ended(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "main.py").write_text(CODE)
    with running(tmp_path, "--drain-s", "60", runtime=RUNTIME, program=("-m", "sesame")) as sesame:
        client = sesame.client()
        client.create_service("s")
        client.create_function(
            "s", "f", RUNTIME, "main.my_handler", codeDir=str(tmp_path / "code"), timeout=60, memorySize=128
        )
        answers: list[bytes] = []
        call = threading.Thread(target=lambda: answers.append(client.invoke_function("s", "f", b"8").data))
        call.start()
        wait_until(lambda: bool(sesame.instances()), "the call's instance", PATIENCE_S)
        process = psutil.Process(sesame.pid)
        process.send_signal(signal.SIGUSR2)
        wait_until(lambda: "Restarting" in sesame.said(), "its word that it restarts", PATIENCE_S)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Stopping" in sesame.said(), "its word that it stops", PATIENCE_S)
        with pytest.raises(requests.ConnectionError):
            requests.get(sesame.endpoint, timeout=PATIENCE_S)
        call.join(PATIENCE_S)
        assert answers == [b"slept"]
        sesame.ended()
    assert "Stopped at once" not in sesame.said()
