"""What one function writes does not evict what another wrote, however much it is."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sesame.store.logs.file import LogWriter, Row, SourceKey
from sesame.store.logs.lines import whole_chunk
from sesame.store.logs.shares import Shares
from sesame.store.sql import sqlite_file

SIZE_MAX = 1 << 20
PIECE = b"x" * 3000 + b"\n"


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[LogWriter]:
    made = LogWriter(tmp_path / "logs.db")
    made.open()
    yield made
    made.close()


def write(writer: LogWriter, function: str, pieces: int) -> None:
    chunk = whole_chunk([(1, PIECE)])
    assert chunk is not None
    writer.write([Row(SourceKey("demo", function, "LATEST", f"c-{function}", "", ""), "r", chunk)] * pieces, 1)


def kept(path: Path) -> Counter[str]:
    """How many pieces there are of each function."""
    connection = sqlite_file.open_for_reading(path, 1.0)
    try:
        query = "SELECT function, count(*) FROM chunks JOIN sources ON sources.id = source GROUP BY 1"
        return Counter(dict(connection.execute(query).fetchall()))
    finally:
        connection.close()


def flood(writer: LogWriter) -> None:
    """One function writes more than fits, after others have written little."""
    write(writer, "quiet", 5)
    write(writer, "other", 10)
    for _ in range(10):
        write(writer, "noisy", 100)
        while writer.expire(0, SIZE_MAX):
            pass


def test_the_function_that_has_most_loses_its_oldest(writer: LogWriter, tmp_path: Path) -> None:
    flood(writer)
    found = kept(tmp_path / "logs.db")
    assert (found["quiet"], found["other"]) == (5, 10)
    assert 150 < found["noisy"] < 350


def test_without_the_shares_the_others_would_lose_theirs(
    writer: LogWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shares, "oldest_of_the_largest", Shares.oldest)
    flood(writer)
    assert set(kept(tmp_path / "logs.db")) == {"noisy"}


def test_shares_are_counted_anew_when_the_file_is_opened_again(tmp_path: Path) -> None:
    for function, pieces in (("quiet", 5), ("noisy", 400), ("noisy", 400)):
        writer = LogWriter(tmp_path / "logs.db")
        writer.open()
        write(writer, function, pieces)
        while writer.expire(0, SIZE_MAX):
            pass
        writer.close()
    assert kept(tmp_path / "logs.db")["quiet"] == 5


def test_two_that_write_as_much_have_as_much(writer: LogWriter, tmp_path: Path) -> None:
    for _ in range(10):
        for function in ("a", "b"):
            write(writer, function, 50)
        while writer.expire(0, SIZE_MAX):
            pass
    found = kept(tmp_path / "logs.db")
    assert min(found.values()) > 0.75 * max(found.values())


def test_what_is_too_old_goes_whoever_wrote_it(writer: LogWriter, tmp_path: Path) -> None:
    flood(writer)
    while writer.expire(2, SIZE_MAX):
        pass
    assert not kept(tmp_path / "logs.db")
