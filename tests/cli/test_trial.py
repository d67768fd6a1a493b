"""What is installed by now refuses to take the place of the Sesame that runs, where a start would fail."""

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from sesame.cli import restarting
from sesame.cli.trial import EXIT_REFUSES, run
from sesame.cluster.keys import make_key
from sesame.store.sql.database import Database


def refusal(capsys: pytest.CaptureFixture[str], *options: object, command: str = "start") -> str:
    with pytest.raises(SystemExit) as ended:
        run([command, *map(str, options)])
    assert ended.value.code == EXIT_REFUSES
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return restarting.problem(EXIT_REFUSES, said.encode())


def test_settings_that_cannot_hold(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refusal(capsys, "--new")
    assert "No such option" in said
    assert "--new" in said
    settings = tmp_path / "sesame.toml"
    settings.write_text("of_the_next_version = 1\n")
    assert "of_the_next_version" in refusal(capsys, "--config", settings)
    monkeypatch.setenv("SESAME_DRAIN_S", "long")
    assert "SESAME_DRAIN_S" in refusal(capsys)


def test_a_certificate_that_cannot_be_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    assert str(missing) in refusal(capsys, "--tls-cert", missing, "--tls-key", missing)


def test_a_data_directory_that_is_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert "is no directory" in refusal(capsys, "--data-dir", tmp_path / "data")


async def test_a_database_of_a_newer_version_is_refused_and_an_older_one_only_without_room_for_its_upgrade(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "sesame.db")
    await database.open()
    await set_revision(database, "9999")
    assert "was written by a newer Sesame (found schema 9999" in refusal(capsys, "--data-dir", tmp_path)
    await set_revision(database, "0008")
    run(["start", "--data-dir", str(tmp_path)])
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage)
    assert "is to be upgraded from schema 0008" in refusal(capsys, "--data-dir", tmp_path)
    await database.close()


async def set_revision(database: Database, revision: str) -> None:
    changed = sa.text("UPDATE alembic_version SET version_num = :revision")
    await database.write(lambda connection: connection.execute(changed, {"revision": revision}).rowcount)


def test_a_node_of_a_cluster_without_what_it_needs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "a node of a cluster needs --database and --objects" in refusal(capsys, command="node")
    shared = ("--database", "postgresql://u@127.0.0.1:1/sesame", "--objects", "s3://bucket")
    key = tmp_path / "cluster.key"
    options = (*shared, "--cluster-key-file", key, "--data-dir", tmp_path / "data")
    assert str(key) in refusal(capsys, *options, command="node")
    make_key(key)
    assert "127.0.0.1:1/sesame cannot be used" in refusal(capsys, *options, command="node")


def test_a_data_directory_that_is_new_is_not_made(tmp_path: Path) -> None:
    run(["start", "--data-dir", str(tmp_path / "new")])
    assert list(tmp_path.iterdir()) == []
