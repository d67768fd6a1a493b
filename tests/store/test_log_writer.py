"""The log writer process: failed writes are retried, malformed batches are dropped alone, a dead process is replaced.

Each test uses a real process and a real file.
"""

import asyncio
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
import pytest

from sesame.model.errors import ConfigurationError, PlatformError
from sesame.store.logs import writer as writer_module
from sesame.store.logs.file import SourceKey
from sesame.store.logs.intake import Logs, Retention
from sesame.store.logs.reader import LogReader, Query
from sesame.store.logs.wire import Batch, Frames, Output, Tried, frame
from sesame.store.logs.writer import LogWriterProcess

decode = msgspec.msgpack.Decoder(Tried).decode
SOURCE = SourceKey("demo", "hello", "LATEST", "c-1", "", "")


@dataclass(frozen=True)
class Opened:
    """Open logs, and the process that writes them."""

    logs: Logs
    process: LogWriterProcess


async def open_logs(path: Path) -> Opened:
    made: list[LogWriterProcess] = []

    def writer(path: Path, total_bytes: int, age_s: float, on_settled: Callable[[int], None]) -> LogWriterProcess:
        made.append(LogWriterProcess(path, total_bytes, age_s, on_settled))
        return made[0]

    logs = Logs(path, Retention(), writer=writer)
    await logs.open()
    return Opened(logs, made[0])


@pytest.fixture
async def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Opened]:
    monkeypatch.setattr(writer_module, "RESTART_AFTER_S", 0.05)
    made = await open_logs(tmp_path / "logs.db")
    yield made
    await made.logs.close()


@pytest.fixture
def logs(opened: Opened) -> Logs:
    return opened.logs


@pytest.fixture
def process(opened: Opened) -> LogWriterProcess:
    return opened.process


async def sent(logs: Logs) -> asyncio.Task[None]:
    """A flush whose batch has been sent and may be unanswered for as long as the process is stopped."""
    flushing = asyncio.create_task(logs.flush())
    await asyncio.sleep(0)
    return flushing


async def texts(logs: Logs) -> list[str]:
    await logs.flush()
    return [line.text for line in await logs.read(Query())]


async def until(logs: Logs, wanted: list[str]) -> None:
    async with asyncio.timeout(30):
        while await texts(logs) != wanted:
            pass


async def test_batches_that_cannot_be_written_are_retried(logs: Logs, tmp_path: Path) -> None:
    logs.append(SOURCE, "r-1", b"first\n")
    assert await texts(logs) == ["first"]
    with closing(sqlite3.connect(tmp_path / "logs.db")) as other:
        other.execute("ALTER TABLE chunks RENAME TO hidden")
        logs.append(SOURCE, "r-1", b"second\n")
        await logs.flush()
        assert logs.waiting_bytes > 0
        logs.append(SOURCE, "r-1", b"third\n")
        await logs.flush()
        other.execute("ALTER TABLE hidden RENAME TO chunks")
    await until(logs, ["first", "second", "third"])
    # The file may be read a moment before the writer's answer that it wrote the batches is taken in.
    async with asyncio.timeout(30):
        while logs.waiting_bytes:
            await logs.flush()
            await asyncio.sleep(0)


async def test_lines_that_cannot_be_written_before_the_end_are_reported_as_lost(
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


def test_a_line_without_its_end_is_written_when_sesame_is_killed_before_it_has_heard_of_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "logs.db"
    ours, theirs = socket.socketpair()
    arguments = [str(theirs.fileno()), str(path), str(1 << 20), "3600", "0", "0"]
    child = subprocess.Popen(
        [sys.executable, "-m", "sesame.store.logs.writer_process", *arguments],
        pass_fds=[theirs.fileno()],
        stderr=subprocess.PIPE,
    )
    theirs.close()
    ours.sendall(frame(1, Batch(1_000, [Output(1, SOURCE, "r-1", [(1_000, b"whole\nthe last words")])])))
    poll = select.poll()
    poll.register(ours, select.POLLIN)
    assert poll.poll(60_000)
    # What it has said is never read: to close then is a reset for it.
    ours.close()
    said = child.communicate(timeout=60)[1]
    assert (child.returncode, said) == (0, b"")
    assert [line.text for line in LogReader(path).read(Query())] == ["whole", "the last words"]


async def test_a_malformed_batch_is_dropped_and_later_ones_are_written(logs: Logs, process: LogWriterProcess) -> None:
    logs.append(SOURCE, "r-1", b"before\n")
    await logs.flush()
    broken = (1, "no bytes")
    process.send(Batch(1, [Output(4711, SOURCE, "r-0", [broken])]), 0)  # type: ignore[list-item]
    logs.append(SOURCE, "r-2", b"after\n")
    assert await texts(logs) == ["before", "after"]
    assert logs.waiting_bytes == 0


async def test_a_new_process_writes_the_batches_that_a_dead_one_left_unanswered(
    logs: Logs, process: LogWriterProcess
) -> None:
    logs.append(SOURCE, "r-1", b"before\n")
    assert await texts(logs) == ["before"]
    pid = process.pid
    os.kill(pid, signal.SIGSTOP)
    logs.append(SOURCE, "r-1", b"while it was dying\n")
    flushing = await sent(logs)
    os.kill(pid, signal.SIGKILL)
    logs.append(SOURCE, "r-1", b"while there was none\n")
    await until(logs, ["before", "while it was dying", "while there was none"])
    await flushing
    await logs.flush()
    assert process.pid != pid
    assert logs.waiting_bytes == 0


async def test_a_batch_at_which_several_processes_die_is_given_up(logs: Logs, process: LogWriterProcess) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    logs.append(SOURCE, "r-1", b"deadly\n")
    flushing = await sent(logs)
    for _ in range(writer_module.DEATHS_MAX):
        pid = process.pid
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while process.pid == pid:
                await logs.read(Query())
    logs.append(SOURCE, "r-2", b"harmless\n")
    await until(logs, ["harmless"])
    await flushing
    await logs.flush()
    assert logs.waiting_bytes == 0


async def test_a_process_that_does_not_start_for_whatever_reason_is_started_again(
    logs: Logs, process: LogWriterProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, popen = [], subprocess.Popen

    def fails_once(*arguments: object, **named: object) -> object:
        tried.append(arguments)
        if len(tried) == 1:
            raise RuntimeError("can't start new thread")
        return popen(*arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", fails_once)
    os.kill(process.pid, signal.SIGKILL)
    logs.append(SOURCE, "r-1", b"after it\n")
    await until(logs, ["after it"])


async def test_who_asks_a_dead_process_is_answered_at_the_end(
    logs: Logs, process: LogWriterProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RESTART_AFTER_S", 60.0)
    pid = process.pid
    os.kill(pid, signal.SIGSTOP)
    asking = asyncio.create_task(process.here())
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while psutil.pid_exists(pid):
            await logs.read(Query())
    await process.close()
    with pytest.raises(PlatformError, match="has ended"):
        await asyncio.wait_for(asking, 30)


async def test_closing_the_logs_ends_the_process(tmp_path: Path) -> None:
    made = await open_logs(tmp_path / "logs.db")
    logs, process = made.logs, psutil.Process(made.process.pid)
    logs.append(SOURCE, "r-1", b"last\nno newline")
    await logs.close()
    assert not process.is_running()
    assert [line.text for line in await logs.read(Query())] == ["last", "no newline"]


async def filled(path: Path, lines: int = 400) -> None:
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
async def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "logs.db"
    await filled(path)
    damage(path)
    logs = Logs(path, Retention())
    await logs.open()
    logs.append(SOURCE, "r-new", b"after the damage\n")
    assert await texts(logs) == ["after the damage"]
    assert len(logs.notices) == 1
    assert "were damaged: they lie in" in logs.notices[0]
    await logs.close()
    assert (tmp_path / "quarantine" / "logs" / "logs.db.1").exists()


async def test_a_file_damaged_while_in_use_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    await filled(path)
    logs = Logs(path, Retention())
    await logs.open()
    # All but the header: the next write finds invalid pages.
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


async def test_a_file_of_a_newer_version_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(ConfigurationError, match="newer Sesame"):
        await Logs(path, Retention()).open()
    assert not (tmp_path / "quarantine").exists()


def test_reading_a_damaged_file_tells_the_next_step(tmp_path: Path) -> None:
    text_file(tmp_path / "logs.db")
    with pytest.raises(ConfigurationError, match="the next start of Sesame sets the file aside"):
        LogReader(tmp_path / "logs.db").read(Query())


def test_frames_are_assembled_from_pieces_of_any_size() -> None:
    sent = {1: Tried(), 2: Tried("x" * 300), 3: Tried("no", given_up=True)}
    stream = b"".join(frame(number, tried) for number, tried in sent.items())
    for size in (1, 3, 64, len(stream)):
        frames = Frames()
        found: dict[int, Tried] = {}
        for start in range(0, len(stream), size):
            found |= {number: decode(body) for number, body in frames.add(stream[start : start + size])}
        assert found == sent
