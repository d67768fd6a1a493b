"""The process that keeps the logs: what it cannot write it tries again, what it cannot take costs no more than itself.

Run by pytest, each test with a real process and a real file.
"""

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import msgspec
import psutil
import pytest

from sesame.model.errors import ConfigurationError
from sesame.store.logs import writer as writer_module
from sesame.store.logs.file import SourceKey
from sesame.store.logs.intake import Logs, Retention
from sesame.store.logs.reader import LogReader, Query
from sesame.store.logs.wire import Batch, Frames, Output, Tried, frame

decode = msgspec.msgpack.Decoder(Tried).decode
SOURCE = SourceKey("demo", "hello", "LATEST", "c-1", "", "")


@pytest.fixture
async def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Logs]:
    monkeypatch.setattr(writer_module, "RESTART_AFTER_S", 0.05)
    made = Logs(tmp_path / "logs.db", Retention())
    await made.open()
    yield made
    await made.close()


async def texts(logs: Logs) -> list[str]:
    await logs.flush()
    return [line.text for line in await logs.read(Query())]


async def until(logs: Logs, wanted: list[str]) -> None:
    async with asyncio.timeout(10):
        while await texts(logs) != wanted:
            pass


async def test_what_cannot_be_written_is_delayed_and_not_lost(logs: Logs, tmp_path: Path) -> None:
    logs.append(SOURCE, "r-1", b"first\n")
    assert await texts(logs) == ["first"]
    with closing(sqlite3.connect(tmp_path / "logs.db")) as other:
        other.execute("ALTER TABLE chunks RENAME TO hidden")
        logs.append(SOURCE, "r-1", b"second\n")
        await logs.flush()
        assert logs._waiting > 0
        logs.append(SOURCE, "r-1", b"third\n")
        await logs.flush()
        other.execute("ALTER TABLE hidden RENAME TO chunks")
    await until(logs, ["first", "second", "third"])
    assert logs._waiting == 0


async def test_what_cannot_be_written_to_the_end_is_said_to_be_lost(
    logs: Logs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(tmp_path / "logs.db")) as other:
        other.execute("DROP TABLE chunks")
    logs.append(SOURCE, "r-1", b"lost\n")
    await logs.close()
    said = capsys.readouterr().out
    assert "trying again" in said
    assert "no such table" in said
    assert "log lines could not be written and are lost" in said


async def test_what_cannot_be_taken_costs_itself_and_no_more(logs: Logs) -> None:
    logs.append(SOURCE, "r-1", b"before\n")
    await logs.flush()
    broken = (1, "no bytes")
    logs._writer.send(Batch(1, [Output(4711, SOURCE, "r-0", [broken])]), 0)  # type: ignore[list-item]
    logs.append(SOURCE, "r-2", b"after\n")
    assert await texts(logs) == ["before", "after"]
    assert logs._waiting == 0


async def test_after_its_death_another_goes_on_with_all_that_was_not_answered(logs: Logs) -> None:
    logs.append(SOURCE, "r-1", b"before\n")
    assert await texts(logs) == ["before"]
    pid = logs._writer.pid
    os.kill(pid, signal.SIGSTOP)
    logs.append(SOURCE, "r-1", b"while it was dying\n")
    logs._send()
    os.kill(pid, signal.SIGKILL)
    logs.append(SOURCE, "r-1", b"while there was none\n")
    await until(logs, ["before", "while it was dying", "while there was none"])
    assert logs._writer.pid != pid
    assert logs._waiting == 0


async def test_lines_at_which_one_process_after_the_other_dies_are_given_up(logs: Logs) -> None:
    os.kill(logs._writer.pid, signal.SIGSTOP)
    logs.append(SOURCE, "r-1", b"deadly\n")
    logs._send()
    for _ in range(writer_module.DEATHS_MAX):
        pid = logs._writer.pid
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while logs._writer.pid == pid:
                await logs.read(Query())
    logs.append(SOURCE, "r-2", b"harmless\n")
    await until(logs, ["harmless"])
    assert logs._waiting == 0


async def test_closing_ends_it(tmp_path: Path) -> None:
    logs = Logs(tmp_path / "logs.db", Retention())
    await logs.open()
    process = psutil.Process(logs._writer.pid)
    logs.append(SOURCE, "r-1", b"last\nno newline")
    await logs.close()
    assert not process.is_running()
    assert [line.text for line in await logs.read(Query())] == ["last", "no newline"]


async def kept(path: Path, lines: int = 400) -> None:
    logs = Logs(path, Retention())
    await logs.open()
    for number in range(lines):
        logs.append(SOURCE, f"r-{number}", b"a line of many bytes " * 20 + b"\n")
    await logs.close()


def text_file(path: Path) -> None:
    path.write_text("not a database\n" * 1000)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def zeroed_pages(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: 16 * 1024] + bytes(len(raw) - 16 * 1024))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [text_file, cut_off, zeroed_pages, folder], ids=lambda damage: damage.__name__)
async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "logs.db"
    await kept(path)
    damage(path)
    logs = Logs(path, Retention())
    await logs.open()
    logs.append(SOURCE, "r-new", b"after the damage\n")
    assert await texts(logs) == ["after the damage"]
    assert len(logs.notices) == 1
    assert "were damaged: they lie in" in logs.notices[0]
    await logs.close()
    assert (tmp_path / "quarantine" / "logs" / "logs.db.1").exists()


async def test_a_file_that_is_damaged_while_it_is_written_is_replaced_too(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    await kept(path)
    logs = Logs(path, Retention())
    await logs.open()
    # Everything but the header: what is written next finds pages that are none.
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    for number in range(200):
        logs.append(SOURCE, f"r-{number}", b"later\n" * 50)
        await logs.flush()
        if logs.notices:
            break
    assert len(logs.notices) == 1
    logs.append(SOURCE, "r-last", b"last\n")
    assert (await texts(logs))[-1] == "last"
    await logs.close()


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(ConfigurationError, match="newer Sesame"):
        await Logs(path, Retention()).open()
    assert not (tmp_path / "quarantine").exists()


def test_reading_a_damaged_file_says_what_happens_next(tmp_path: Path) -> None:
    text_file(tmp_path / "logs.db")
    with pytest.raises(ConfigurationError, match="the next start of Sesame sets the file aside"):
        LogReader(tmp_path / "logs.db").read(Query())


def test_frames_come_together_from_any_pieces() -> None:
    sent = {1: Tried(), 2: Tried("x" * 300), 3: Tried("no", given_up=True)}
    stream = b"".join(frame(number, tried) for number, tried in sent.items())
    for size in (1, 3, 64, len(stream)):
        frames = Frames()
        found: dict[int, Tried] = {}
        for start in range(0, len(stream), size):
            found |= {number: decode(body) for number, body in frames.add(stream[start : start + size])}
        assert found == sent
