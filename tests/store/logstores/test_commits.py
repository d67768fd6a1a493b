"""Commits: a full disk is told as such, and leaves nothing of what did not fit."""

from pathlib import Path

import pytest

from sesame.store.logs.logstores.commits import Commits
from sesame.store.logs.logstores.interface import StorageFull
from sesame.store.sql.sqlite_file import Connection


async def test_what_does_not_fit_on_the_disk_is_not_there_and_what_comes_later_is(tmp_path: Path) -> None:
    commits = Commits(tmp_path / "logstores.db", durable=False)
    await commits.open()

    def room_for(db: Connection, pages: int) -> None:
        """SQLite says the same as on a disk that is full."""
        (used,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {used + pages}")

    def write(db: Connection) -> None:
        db.execute("INSERT INTO projects (name, document) VALUES ('small', 'x')")
        db.execute("INSERT INTO projects (name, document) VALUES ('large', zeroblob(1000000))")

    def names(db: Connection) -> list[str]:
        return [row[0] for row in db.execute("SELECT name FROM projects ORDER BY name")]

    await commits.write(lambda db: room_for(db, 1))
    with pytest.raises(StorageFull, match="database or disk is full"):
        await commits.write(write)
    assert await commits.write(names) == []
    await commits.write(lambda db: room_for(db, 1000))
    await commits.write(write)
    assert await commits.write(names) == ["large", "small"]
    await commits.close()
