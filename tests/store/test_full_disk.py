"""A full disk at the start: what is told leads to room on the disk, and not to a restore or to logs moved away.

Run by pytest.
"""

import os
import sqlite3
from pathlib import Path

import pytest

from sesame.model.errors import ConfigurationError
from sesame.store.logs import file as log_file
from sesame.store.logs.logstores import file as logstores_file
from sesame.store.sql import sqlite_file
from sesame.store.sql.sqlite import SqliteBackend

STEP = "othing is lost: free some space on its disk and start again"


def said_by_sqlite(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


FULL = said_by_sqlite(sqlite3.SQLITE_FULL, "database or disk is full")
# What it says where the index of its log, which is mapped, cannot grow.
INDEX = said_by_sqlite(sqlite3.SQLITE_IOERR_SHMSIZE, "disk I/O error")


def disk_with(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    said = (4096, 4096, 1000, free_bytes // 4096, free_bytes // 4096, 100, 50, 50, 0, 255)
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(said))


@pytest.mark.parametrize("error", [FULL, INDEX])
def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: sqlite3.Error) -> None:
    disk_with(monkeypatch, 0)
    assert STEP in str(SqliteBackend(tmp_path / "sesame.db").unusable(error))
    assert STEP in str(log_file.unusable(tmp_path / "logs.db", error))

    def opened(*_given: object) -> sqlite3.Connection:
        raise error

    monkeypatch.setattr(sqlite_file, "open_for_writing", opened)
    with pytest.raises(ConfigurationError, match=STEP):
        logstores_file.open_file(tmp_path / "logstores.db", durable=True)


def test_an_error_of_a_disk_with_room_is_not_told_as_a_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_with(monkeypatch, 1024 * 1024)
    assert STEP not in str(SqliteBackend(tmp_path / "sesame.db").unusable(INDEX))
    assert STEP not in str(log_file.unusable(tmp_path / "logs.db", INDEX))
