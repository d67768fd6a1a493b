"""The store of logs: every line is kept and found, what is cut says so, old lines go, and what was written survives.

The child process that is killed calls `main` of this file. Time is injected.
"""

import asyncio
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import forked
from tests.support.fakes import ReadFrom

from sesame.model.errors import ConfigurationError
from sesame.store.logs import intake as logs_module
from sesame.store.logs.file import LogWriter, Row, SourceKey, discard
from sesame.store.logs.intake import Logs, Retention
from sesame.store.logs.lines import CHUNK_BYTES_MAX, ENTRY_BYTES_MAX, Splitter, entries
from sesame.store.logs.reader import LogLine, LogReader, Query
from sesame.store.logs.wire import Batch, Whole

MIB = 1024 * 1024
START = 1_700_000_000.0
Make = Callable[..., Awaitable[Logs]]


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


def source(instance: str = "c-1", function: str = "hello", service: str = "demo") -> SourceKey:
    return SourceKey(service, function, "LATEST", instance, "project", "store")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> object:
    """Opens logs whose flusher never acts by itself: the tests say when."""
    monkeypatch.setattr(logs_module, "FLUSH_EVERY_S", 3600.0)
    made = []

    async def open_logs(**keeping: float) -> Logs:
        logs = Logs(tmp_path / "logs.db", Retention(**keeping), ReadFrom(clock))  # type: ignore[arg-type]
        await logs.open()
        made.append(logs)
        return logs

    yield open_logs
    for logs in made:
        await logs.close()


async def texts(logs: Logs, **query: object) -> list[str]:
    await logs.flush()
    return [line.text for line in await logs.read(Query(**{"limit": 10**9, **query}))]  # type: ignore[arg-type]


async def test_a_line_is_kept_with_its_metadata(make: Make, clock: Clock) -> None:
    logs = await make()
    logs.append(source(), "r-1", b"FC Invoke Start RequestId: r-1\r\n")
    clock.time += 0.25
    logs.append(source(), "r-1", "grüezi\n\nend\n".encode())
    await logs.flush()
    first, second, empty, last = await logs.read(Query(service="demo"))
    assert first == LogLine(
        first.id, START, "demo", "hello", "LATEST", "c-1", "r-1", "project", "store", "FC Invoke Start RequestId: r-1"
    )
    assert (second.text, second.time) == ("grüezi", START + 0.25)
    assert (empty.text, last.text) == ("", "end")
    assert first.id < second.id < empty.id < last.id


async def test_queries_find_the_matching_lines(make: Make, clock: Clock) -> None:
    logs = await make()
    for number in range(60):
        who = source(f"c-{number % 3}", "even" if number % 2 == 0 else "odd", f"s{number % 5}")
        logs.append(who, f"r-{number}", b"line %d\n" % number)
        await logs.flush()
        clock.time += 1
    assert await texts(logs, request_id="r-7") == ["line 7"]
    assert await texts(logs, service="s1", function="odd") == [f"line {n}" for n in range(60) if n % 10 == 1]
    assert await texts(logs, since=START + 57) == ["line 57", "line 58", "line 59"]
    assert await texts(logs, until=START + 2) == ["line 0", "line 1"]
    assert await texts(logs, since=START + 20.5, until=START + 22.5) == ["line 21", "line 22"]
    assert await texts(logs, since=START + 1000) == []
    assert await texts(logs, function="neither") == []


async def test_pages_have_neither_gap_nor_overlap(make: Make) -> None:
    logs = await make()
    for number in range(40):
        logs.append(source(f"c-{number % 4}"), f"r-{number}", b"".join(b"%d.%d\n" % (number, n) for n in range(9)))
    whole = await texts(logs)
    assert len(whole) == 360
    paged: list[str] = []
    after = 0
    while page := await logs.read(Query(after_id=after, limit=7)):
        assert len(page) <= 7
        paged += [line.text for line in page]
        after = page[-1].id
    assert paged == whole


async def test_a_first_line_that_waits_for_others_is_in_the_file_with_the_next_flush(make: Make, clock: Clock) -> None:
    logs, whose = await make(), source()
    logs.append(whose, "r-1", b"start 1\n", True)
    assert await texts(logs) == ["start 1"]
    clock.time += 0.25
    logs.append(whose, "r-1", b"end 1\n")
    logs.append(whose, "r-2", b"start 2\n", True)
    clock.time += 0.25
    logs.append(whose, "r-2", b"end 2\n")
    logs.append(whose, "r-2", b"an afterthought")
    logs.append(whose, "r-3", b"start 3\n", True)
    logs.append(whose, "r-4", b"start 4\n", True)
    assert await texts(logs, request_id="r-1") == ["start 1", "end 1"]
    assert await texts(logs, request_id="r-2") == ["start 2", "end 2", "an afterthought"]
    assert await texts(logs, request_id="r-3") == ["start 3"]
    assert await texts(logs, request_id="r-4") == ["start 4"]
    lines = await logs.read(Query(request_id="r-2"))
    assert [line.time - START for line in lines] == [0.25, 0.5, 0.5]


@pytest.mark.parametrize("size", [100, CHUNK_BYTES_MAX - 8, CHUNK_BYTES_MAX, 2 * CHUNK_BYTES_MAX])
async def test_a_call_of_two_pieces_is_read_as_it_was_written_however_long_it_is(
    make: Make, clock: Clock, tmp_path: Path, size: int
) -> None:
    logs, whose = await make(), source()
    for call in ("r-1", "r-2"):
        # An instance that is known, and of whose calls before nothing waits.
        await logs.flush()
        logs.append(whose, call, b"start\n", True)
        clock.time += 0.25
        logs.append(whose, call, (b"x" * 99 + b"\n") * (size // 100) + b"end\n")
        clock.time += 0.25
    assert await texts(logs, request_id="r-2") == ["start", *["x" * 99] * (size // 100), "end"]
    lines = await logs.read(Query(request_id="r-2", limit=10_000))
    assert [line.time - START for line in (lines[0], lines[1], lines[-1])] == [0.5, 0.75, 0.75]
    with closing(sqlite3.connect(tmp_path / "logs.db")) as db:
        assert db.execute("SELECT max(length(data)) FROM chunks").fetchone()[0] <= CHUNK_BYTES_MAX


_TEXTS = st.sampled_from(["a\n", "b", "c\nd\n"])
# Instance, whether its call ends and the next one begins, text, and whether more is said to follow; None flushes.
_IN_TURN = st.lists(st.none() | st.tuples(st.integers(0, 1), st.booleans(), _TEXTS, st.booleans()), max_size=30)
# The same with the number of the call, 0 for output of no call. Between calls side by side, lines are whole.
_SIDE_BY_SIDE = st.lists(
    st.none() | st.tuples(st.integers(0, 1), st.integers(0, 3), st.sampled_from(["a\n", "c\nd\n"]), st.booleans()),
    max_size=30,
)


def sent(writes: list[Any], *, waiting: bool) -> dict[str, list[tuple[str, bytes]]]:
    """By instance, with numbered texts. Unless `waiting`, nothing is said to follow."""

    async def written() -> dict[str, list[tuple[str, bytes]]]:
        writer = _RecordingWriter()
        logs = Logs(Path("never-opened"), Retention(), ReadFrom(Clock()), lambda *_arguments: writer)
        for number, write in enumerate(writes):
            if write is None:
                await logs.flush()
                continue
            instance, call, text, more = write
            request_id = f"r-{call}" if call else ""
            more = waiting and more and text.endswith("\n")
            logs.append(_SOURCES[instance], request_id, f"{number}{text}".encode(), more)
        await logs.flush()
        return writer.found

    return asyncio.run(written())


@given(_IN_TURN)
@settings(max_examples=60, deadline=None)
def test_holding_first_lines_back_changes_no_line_of_an_instance(turns: list[Any]) -> None:
    calls = [1, 1]
    writes: list[Any] = []
    for turn in turns:
        if turn is None:
            writes.append(None)
            continue
        instance, begins, text, more = turn
        if begins:
            writes.append((instance, calls[instance], "end\n", False))
            calls[instance] += 1
        writes.append((instance, calls[instance], text, more))
    assert sent(writes, waiting=True) == sent(writes, waiting=False)


@given(_SIDE_BY_SIDE)
@settings(max_examples=60, deadline=None)
def test_holding_first_lines_back_changes_no_call_beside_others(writes: list[Any]) -> None:
    def by_call(found: dict[str, list[tuple[str, bytes]]]) -> dict[tuple[str, str], list[bytes]]:
        calls: dict[tuple[str, str], list[bytes]] = {}
        for instance, lines in found.items():
            for request_id, text in lines:
                calls.setdefault((instance, request_id), []).append(text)
        return calls

    assert by_call(sent(writes, waiting=True)) == by_call(sent(writes, waiting=False))


def test_what_a_program_writes_comes_behind_the_first_lines_before_it() -> None:
    writes = [(0, 1, "a\n", True), (0, 2, "a\n", True), (0, 0, "a\n", False), (0, 1, "a\n", False)]
    assert sent(writes, waiting=True) == sent(writes, waiting=False)


_SOURCES = [source("c-1"), source("c-2")]


class _RecordingWriter:
    """Takes the writer process's part: records pieces by instance, and where a line is closed without a newline."""

    def __init__(self) -> None:
        self.found: dict[str, list[tuple[str, bytes]]] = {}
        self.notices: list[str] = []

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def tried(self) -> None: ...
    async def expired(self) -> None: ...

    def send(self, batch: Batch, weight: int) -> None:
        for output in batch.outputs:
            lines = self.found.setdefault(output.source.instance_id, [])
            if isinstance(output, Whole):
                lines += [(output.request_id, output.line), (output.request_id, output.data)]
                continue
            lines += [(output.request_id, data) for _at, data in output.pieces]
            if output.cut:
                lines.append((output.request_id, b"<cut>"))


async def test_calls_of_two_instances_are_not_mixed(make: Make) -> None:
    logs = await make()
    logs.append(source("c-1"), "r-1", b"one ")
    logs.append(source("c-2"), "r-2", b"other ")
    logs.append(source("c-1"), "r-1", b"half\n")
    await logs.flush()
    logs.append(source("c-2"), "r-2", b"half\n")
    assert await texts(logs, request_id="r-1") == ["one half"]
    assert await texts(logs, request_id="r-2") == ["other half"]


async def test_a_line_without_newline_ends_with_its_call(make: Make) -> None:
    logs = await make()
    logs.append(source(), "r-1", b"whole\nhalf")
    assert await texts(logs) == ["whole"]
    logs.append(source(), "r-2", b"next\n")
    assert [(line.request_id, line.text) for line in await logs.read(Query())] == [("r-1", "whole")]
    assert await texts(logs) == ["whole", "half", "next"]
    assert await texts(logs, request_id="r-1") == ["whole", "half"]


async def test_closing_keeps_everything_also_a_line_without_newline(make: Make, tmp_path: Path) -> None:
    logs = await make()
    logs.append(source(), "r-1", b"whole\nhalf")
    await logs.close()
    await logs.close()
    assert [line.text for line in LogReader(tmp_path / "logs.db").read(Query())] == ["whole", "half"]


async def test_reopening_continues_the_file(make: Make) -> None:
    logs = await make()
    logs.append(source(), "r-1", b"before\n")
    await logs.close()
    logs = await make()
    logs.append(source(), "r-2", b"after\n")
    assert await texts(logs) == ["before", "after"]


async def test_bytes_that_are_not_utf_8_are_shown_as_replacement_characters(make: Make) -> None:
    logs = await make()
    logs.append(source(), "r-1", b"a\xff\xfeb\x00c\n")
    assert await texts(logs) == ["a\ufffd\ufffdb\x00c"]


@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([b"\n", b"\r\n", b"x" * 700, b"\n\n"]), max_size=30),
    st.lists(st.integers(0, 30), max_size=5),
)
def test_lines_do_not_depend_on_how_the_output_was_chunked(pieces: list[bytes], cuts: list[int]) -> None:
    check_splitting([piece for piece in pieces if piece], sorted(set(cuts)))


@given(st.lists(st.tuples(st.sampled_from([1, 3, ENTRY_BYTES_MAX, CHUNK_BYTES_MAX]), st.integers(-2, 2)), max_size=9))
def test_lines_about_as_long_as_the_bounds_are_split_at_them(sizes: list[tuple[int, int]]) -> None:
    pieces = []
    for number, (size, more) in enumerate(sizes):
        pieces.append(b"abcdefghi"[number : number + 1] * max(size + more, 1) + (b"\n" if more % 2 else b""))
    check_splitting(pieces, [len(pieces) // 2])


def check_splitting(pieces: list[bytes], cuts: list[int]) -> None:
    """Against the plain definition: lines end at newlines, and one too long is several."""
    whole = b"".join(pieces)
    starts = [index for piece_number, piece in enumerate(pieces) for index in [piece_number] * len(piece)]
    expected = []
    position = 0
    for line in whole.split(b"\n"):
        parts = [line[n : n + ENTRY_BYTES_MAX] for n in range(0, max(len(line), 1), ENTRY_BYTES_MAX)]
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if position < len(whole):
                expected.append((starts[position], part.removesuffix(b"\r") if last else part))
            position += len(part)
        position += 1
    splitter, chunks = Splitter(), []
    stamped = list(enumerate(pieces))
    for start, end in zip([0, *cuts], [*cuts, len(stamped)], strict=True):
        if stamped[start:end]:
            chunks += splitter.cut(stamped[start:end])
    chunks += splitter.end()
    assert b"".join(chunk.data for chunk in chunks) == whole
    assert all(0 < len(chunk.data) <= CHUNK_BYTES_MAX for chunk in chunks)
    assert [entry for chunk in chunks for entry in entries(chunk)] == expected


async def test_a_call_that_prints_a_gigabyte_is_cut_by_the_rule_that_the_log_shows(make: Make, clock: Clock) -> None:
    logs = await make()
    line = b"x" * 1023 + b"\n"
    piece = line * 64
    logs.append(source(), "r-1", b"FC Invoke Start RequestId: r-1\r\n")
    for number in range(16 * 1024):
        logs.append(source(), "r-1", piece)
        if number % 1000 == 0:
            await logs.flush()
    logs.append(source(), "r-1", b"FC Invoke End RequestId: r-1\r\n")
    logs.append(source(), "r-2", b"FC Invoke Start RequestId: r-2\r\n")
    found = await texts(logs, request_id="r-1")
    kept = 8 * MIB
    said = next(n for n, text in enumerate(found) if text.startswith("[sesame]"))
    assert found[0] == "FC Invoke Start RequestId: r-1"
    assert found[-1] == "FC Invoke End RequestId: r-1"
    assert sum(text.startswith("[sesame]") for text in found) == 1
    written = 32 + 1024 * MIB + 30
    before = sum(map(len, found[:said])) + 1 + said - 1  # \r, and the newlines but the one that was cut
    after = sum(map(len, found[said + 1 :])) + 1 + len(found) - said - 1
    assert before == kept
    assert found[said].startswith(f"[sesame] {written - before - after} bytes of this call's log were not kept")
    assert f"more than the {kept} bytes" in found[said]
    assert await texts(logs, request_id="r-2") == ["FC Invoke Start RequestId: r-2"]


async def test_the_end_of_a_cut_call_shows_when_it_is_quiet(make: Make, clock: Clock) -> None:
    logs = await make(call_bytes=100)
    logs.append(source(), "r-1", b"x" * 99 + b"\n" + b"y" * 9000 + b"\n" + b"the end\n")
    assert await texts(logs) == ["x" * 99]
    clock.time += 1
    assert await texts(logs) == [
        "x" * 99,
        "[sesame] 9001 bytes of this call's log were not kept: it wrote more than the 100 bytes that are kept of a "
        "call; the end of it follows",
        "the end",
    ]


async def test_a_call_slightly_beyond_its_limit_is_kept_completely_without_a_note(make: Make, tmp_path: Path) -> None:
    logs = await make(call_bytes=100)
    logs.append(source(), "r-1", b"x" * 200 + b"\n")
    await logs.close()
    found = LogReader(tmp_path / "logs.db").read(Query())
    assert "".join(line.text for line in found) == "x" * 200


async def test_output_faster_than_the_disk_is_dropped_and_a_line_says_so(make: Make) -> None:
    logs = await make(waiting_bytes=10_000)
    for number in range(20):
        logs.append(source(), "r-1", b"%03d" % number + b"x" * 996 + b"\n")
    assert logs.waiting_bytes <= 10_000 + 200
    await logs.flush()
    logs.append(source(), "r-1", b"later\n")
    found = await texts(logs)
    kept = [text for text in found if "x" in text and not text.startswith("[")]
    assert [text[:3] for text in kept] == [f"{n:03d}" for n in range(len(kept))]
    lost = (20 - len(kept)) * 1000
    assert found[len(kept) :] == [
        f"[sesame] {lost} bytes of this call's log were lost here: they came faster than the disk could take them",
        "later",
    ]


async def test_notes_of_loss_are_bounded_as_well(make: Make) -> None:
    logs = await make(waiting_bytes=10_000)
    for number in range(5000):
        logs.append(source(), f"r-{number}", b"x" * 99 + b"\n")
    assert logs.waiting_bytes <= 2 * 10_000 + 200
    assert logs.unreported_loss_bytes > 0
    await logs.flush()
    assert logs.waiting_bytes == 0
    logs.append(source(), "r-last", b"again\n")
    assert await texts(logs, request_id="r-last") == ["again"]


async def test_logs_are_flushed_automatically(tmp_path: Path) -> None:
    logs = Logs(tmp_path / "logs.db", Retention())
    await logs.open()
    logs.append(source(), "r-1", b"seen\n")
    try:
        async with asyncio.timeout(30):
            while not (found := await logs.read(Query())):
                await asyncio.to_thread(LogReader(tmp_path / "logs.db").functions)
    finally:
        await logs.close()
    assert [line.text for line in found] == ["seen"]


async def test_old_lines_are_deleted_with_their_sources(make: Make, clock: Clock, tmp_path: Path) -> None:
    logs = await make(age_s=100.0)
    for number in range(1000):
        logs.append(source(f"c-{number}"), f"r-{number}", b"%d\n" % number)
        if number % 10 == 9:
            await logs.flush()
            clock.time += 10
    clock.time += 50  # the last is 60 s old, the first 1050
    await logs.expire()
    assert await texts(logs) == [str(number) for number in range(950, 1000)]
    clock.time += 1000
    await logs.expire()
    assert await texts(logs) == []
    logs.append(source("c-0"), "r-new", b"alive\n")
    clock.time += 1
    assert [line.instance_id for line in await _lines(logs)] == ["c-0"]
    with closing(sqlite3.connect(tmp_path / "logs.db")) as db:
        assert db.execute("SELECT count(*) FROM sources").fetchone() == (1,)


async def _lines(logs: Logs) -> list[LogLine]:
    await logs.flush()
    return await logs.read(Query())


async def test_the_oldest_lines_are_deleted_beyond_the_size_limit(make: Make, tmp_path: Path, clock: Clock) -> None:
    logs = await make(total_bytes=4 * MIB, call_bytes=100 * MIB)
    for number in range(200):
        logs.append(source(f"c-{number % 7}"), f"r-{number}", (b"%07d" % number + b"x" * 992 + b"\n") * 100)
        await logs.flush()
    await logs.expire()
    found = await texts(logs)
    numbers = [int(text[:7]) for text in found]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 199
    kept = sum(len(text) + 1 for text in found)
    assert 3 * MIB < kept < 4 * MIB + 4 * MIB // 16 + 100_000
    assert (tmp_path / "logs.db").stat().st_size < 6 * MIB


async def test_freed_space_goes_back_to_the_file_system(make: Make, tmp_path: Path, clock: Clock) -> None:
    logs = await make(age_s=100.0, call_bytes=100 * MIB)
    for _ in range(48):
        logs.append(source(), "r-1", (b"x" * 1023 + b"\n") * 1024)
        await logs.flush()
    clock.time += 1000
    await logs.expire()
    await logs.close()
    assert (tmp_path / "logs.db").stat().st_size <= 33 * MIB


async def test_setting_the_clock_back_hides_no_line(make: Make, clock: Clock) -> None:
    logs = await make()
    logs.append(source(), "r-1", b"one\n")
    await logs.flush()
    clock.time -= 500
    logs.append(source(), "r-2", b"two\n")
    assert await texts(logs, since=START - 600) == ["one", "two"]
    assert await texts(logs, since=START - 500) == ["one", "two"]


async def test_the_state_of_silent_instances_is_dropped(make: Make, clock: Clock, tmp_path: Path) -> None:
    logs = await make()
    for number in range(5000):
        logs.append(source(f"c-{number}"), "r", b"half")
        clock.time += 1
        if number % 500 == 0:
            await logs.flush()
    assert logs.remembered_instances < 1000
    await logs.close()
    assert len(LogReader(tmp_path / "logs.db").read(Query(limit=10_000))) == 5000


def test_a_missing_file_has_no_lines_and_a_foreign_file_is_an_error(tmp_path: Path) -> None:
    assert LogReader(tmp_path / "none.db").read(Query()) == []
    assert LogReader(tmp_path / "none.db").functions() == []
    strange = tmp_path / "strange.db"
    strange.write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        LogReader(strange).read(Query())
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version=99")
    for refused in (lambda: LogReader(newer).read(Query()), LogWriter(newer).open):
        with pytest.raises(ConfigurationError, match=r"found version 99, expected 4"):
            refused()


async def test_discarding_removes_the_files(make: Make, tmp_path: Path) -> None:
    logs = await make()
    logs.append(source(), "r-1", b"secret\n")
    await logs.close()
    discard(tmp_path / "logs.db")
    discard(tmp_path / "logs.db")
    assert LogReader(tmp_path / "logs.db").functions() == []
    assert os.listdir(tmp_path) == []


async def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "logs.db")
    writer.open()
    good = Row(source(), "r-1", Splitter().cut([(1, b"good\n")])[0])
    bad = Row(source("c-2"), "r-2", msgspec.structs.replace(good.chunk, data=None))
    with pytest.raises(sqlite3.IntegrityError):
        writer.write([good, bad], 1)
    writer.write([good], 2)
    writer.close()
    assert [line.request_id for line in LogReader(tmp_path / "logs.db").read(Query())] == ["r-1"]


async def write_forever(path: Path) -> None:
    """Says a number once it, and all before it, were flushed."""
    logs = Logs(path, Retention())
    await logs.open()
    newest = max((int(line.text) for line in await logs.read(Query(limit=10**9))), default=-1)
    while True:
        for _ in range(50):
            newest += 1
            logs.append(source(), f"r-{newest}", b"%d\n" % newest)
        await logs.flush()
        sys.stdout.write(f"{newest}\n")
        sys.stdout.flush()


def main(path: str) -> None:
    asyncio.run(write_forever(Path(path)))


def run_and_kill(path: Path, after: int) -> int:
    return int(forked.call_and_kill("tests.store.test_logs:main", str(path), after=after)[-1])


async def test_what_was_flushed_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    for after in (1, 7, 20, 3, 40):
        flushed = await asyncio.to_thread(run_and_kill, path, after)
        numbers = [int(line.text) for line in LogReader(path).read(Query(limit=10**9))]
        assert numbers == list(range(len(numbers)))
        assert numbers[-1] >= flushed


async def test_the_qualifier_is_kept_as_the_caller_wrote_it(make: Make) -> None:
    logs = await make()
    for request_id, qualifier in (("r-1", "prod"), ("r-2", "1"), ("r-3", "prod")):
        logs.append(source()._replace(qualifier=qualifier), request_id, f"as {qualifier}\n".encode())
    assert await texts(logs, qualifier="prod") == ["as prod", "as prod"]
    assert await texts(logs, qualifier="1") == ["as 1"]
    assert await texts(logs, qualifier="") == []
    assert [line.qualifier for line in await logs.read(Query())] == ["prod", "1", "prod"]


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_a_file_of_a_version_before_is_read_and_then_upgraded(make: Make, tmp_path: Path, version: int) -> None:
    logs = await make()
    logs.append(source(), "r-1", b"old\n")
    await logs.close()
    path = tmp_path / "logs.db"
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE held")
        db.execute("ALTER TABLE sources RENAME COLUMN last_id TO last_ms")
        if version == 3:
            db.execute("CREATE TABLE segments (digest TEXT PRIMARY KEY, last_ms INTEGER NOT NULL) WITHOUT ROWID")
            db.execute("CREATE INDEX segments_by_age ON segments (last_ms)")
        else:
            db.execute("DROP TABLE sealed")
        if version == 1:
            db.execute("ALTER TABLE sources DROP COLUMN qualifier")
        db.execute(f"PRAGMA user_version={version}")
    db.close()
    assert [(line.text, line.qualifier) for line in LogReader(path).read(Query())] == [("old", "")]
    assert LogReader(path).read(Query(qualifier="prod")) == []
    logs = await make()
    logs.append(source()._replace(qualifier="prod"), "r-2", b"new\n")
    assert await texts(logs) == ["old", "new"]
    assert await texts(logs, qualifier="prod") == ["new"]


async def test_reading_on_reads_no_line_twice(make: Make, tmp_path: Path) -> None:
    logs = await make()
    reader = LogReader(tmp_path / "logs.db")
    assert reader.read_on(Query(after_id=7)) == ([], 7)
    for number in range(5):
        logs.append(source(), f"r-{number}", b"one\ntwo\n")
    await logs.flush()
    nothing, after = reader.read_on(Query(function="another"))
    assert nothing == []
    assert after >= (await logs.read(Query()))[-1].id
    assert reader.read_on(Query(after_id=after)) == ([], after)
    logs.append(source(), "r-5", b"three\n")
    await logs.flush()
    lines, later = reader.read_on(Query(after_id=after))
    assert [line.text for line in lines] == ["three"]
    assert later > after
    found: list[str] = []
    after = 0
    while True:
        lines, after = reader.read_on(Query(after_id=after, limit=3))
        found += [line.text for line in lines]
        if len(lines) < 3:
            break
    assert found == ["one", "two"] * 5 + ["three"]
