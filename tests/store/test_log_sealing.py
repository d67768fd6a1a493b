"""Rows of a cluster's log leave the file of one node as segments, and get into that of another. Run by pytest."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from sesame.store.logs.file import LogWriter, Row, SourceKey
from sesame.store.logs.lines import Chunk
from sesame.store.logs.reader import LogReader, Query
from sesame.store.logs.shared import sealing as rules
from sesame.store.logs.shared.sealing import NUMBERS, Sealing, unseal
from sesame.store.logs.shared.segment import Range, Sealed

A, B = SourceKey("demo", "a", "1", "c-1", "", ""), SourceKey("demo", "b", "1", "c-2", "p", "l", "prod")
FIRST, SECOND = NUMBERS, 2 * NUMBERS
EVERYTHING = 1 << 40


class NodeFile:
    """The file of one node, with what works on it; `at` is where new rows begin."""

    def __init__(self, path: Path, at: int) -> None:
        self.path = path
        self.writer = LogWriter(path, at)
        assert self.writer.open() == ""
        self.sealing = Sealing(self.writer)

    def write(self, *texts: str, source: SourceKey = A, at_ms: int = 1_000) -> None:
        rows = [Row(source, f"r-{text}", Chunk(at_ms, None, f"{text}\n".encode())) for text in texts]
        self.writer.write(rows, at_ms)

    def seal_all(self) -> list[Sealed]:
        found: list[Sealed] = []
        while (sealed := self.sealing.next()) is not None:
            found.append(sealed)
            self.sealing.mark([sealed.segment.ids])
        return found

    def take(self, segments: Sequence[Sealed]) -> list[str]:
        return [self.sealing.take(each.segment, each.data) for each in segments]

    def texts(self, **query: str) -> list[str]:
        return [line.text for line in LogReader(self.path).read(msgspec.convert(query, Query))]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[NodeFile]:
    node = NodeFile(tmp_path / "here.db", FIRST)
    with closing(node.writer):
        yield node


@pytest.fixture
def there(tmp_path: Path) -> Iterator[NodeFile]:
    """Of the node that leads next."""
    node = NodeFile(tmp_path / "there.db", SECOND)
    with closing(node.writer):
        yield node


def test_what_is_sealed_here_is_read_there_in_the_same_order(here: NodeFile, there: NodeFile) -> None:
    here.write("1", "2")
    here.write("3", source=B)
    (first,) = here.seal_all()
    assert first.segment.ids == Range(FIRST, FIRST + 3)
    assert first.segment.owners == (("demo", "a"), ("demo", "b"))
    assert first.segment.size == 6
    here.write("4")
    (second,) = here.seal_all()
    assert second.segment.ids == Range(FIRST + 3, FIRST + 4)
    # The next writer has lines of its own before it has those of others, and takes the newest first.
    there.write("5")
    assert there.take([second, first]) == ["", ""]
    assert there.texts() == ["1", "2", "3", "4", "5"]
    assert there.texts(function="b", qualifier="prod", request_id="r-3") == ["3"]
    assert LogReader(there.path).functions() == [("demo", "a"), ("demo", "b")]
    # Taken in once more it is there once.
    assert there.take([second, first]) == ["", ""]
    assert there.texts() == ["1", "2", "3", "4", "5"]
    # None of what came from there is sealed again.
    (own,) = there.seal_all()
    assert own.segment.ids == Range(SECOND, SECOND + 1)
    assert there.sealing.here() == [Range(FIRST, FIRST + 4), own.segment.ids]


def test_what_was_not_sealed_when_its_writer_ended_is_sealed_when_the_node_leads_again(
    here: NodeFile, there: NodeFile
) -> None:
    here.write("1")
    here.seal_all()
    here.write("late")
    here.writer.close()
    there.write("2")
    others = there.seal_all()
    again = NodeFile(here.path, 3 * NUMBERS)
    with closing(again.writer):
        again.write("3")
        again.take(others)
        late, own = again.seal_all()
        assert late.segment.ids == Range(FIRST + 1, FIRST + 2)
        assert own.segment.ids == Range(3 * NUMBERS, 3 * NUMBERS + 1)
        assert again.texts() == ["1", "late", "2", "3"]
    there.take([late, own])
    assert there.texts() == ["late", "2", "3"]


def test_rows_from_before_the_cluster_stay_where_they_are(tmp_path: Path) -> None:
    alone = NodeFile(tmp_path / "logs.db", 0)
    alone.write("alone")
    alone.writer.close()
    node = NodeFile(tmp_path / "logs.db", FIRST)
    with closing(node.writer):
        node.write("shared")
        (sealed,) = node.seal_all()
        assert sealed.segment.ids == Range(FIRST, FIRST + 1)
        assert node.texts() == ["alone", "shared"]


def test_a_segment_holds_no_more_than_its_size_and_a_row(here: NodeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "SEGMENT_BYTES", 10)
    here.write(*(f"{number:03d}" for number in range(7)))
    assert [each.segment.size for each in here.seal_all()] == [12, 12, 4]


def test_a_damaged_and_a_missing_segment_leave_a_note_for_each_function(here: NodeFile, there: NodeFile) -> None:
    here.write("1", at_ms=1_000)
    here.write("2", source=B, at_ms=4_000)
    here.write("3")
    damaged, missing = here.seal_all()[0], None
    assert damaged.segment.owners == (("demo", "a"), ("demo", "b"))
    problem = there.sealing.take(damaged.segment, damaged.data[:-1] + b"x")
    assert problem.startswith(f"it is damaged: its {len(damaged.data)} bytes have the SHA-256 ")
    (note,) = there.texts(function="b")
    assert note.startswith(f"[sesame] lines of about 3 s are missing here: segment {damaged.segment.digest} ")
    assert "it is damaged" in note
    here.write("4")
    (gone,) = here.seal_all()
    assert there.sealing.take(gone.segment, missing) == "it is not in the bucket"
    assert [text.partition(":")[0] for text in there.texts(function="a")] == [
        "[sesame] lines of about 3 s are missing here", "[sesame] lines of about 1 s are missing here",
    ]  # fmt: skip
    there.write("5")
    assert there.texts(function="a")[-1] == "5"
    assert [each.segment.ids for each in there.seal_all()] == [Range(SECOND, SECOND + 1)]


def test_old_rows_that_come_late_are_deleted_in_the_order_of_all(here: NodeFile, there: NodeFile) -> None:
    here.write("1", "2")
    old = here.seal_all()
    there.write("3", at_ms=5_000)
    # The largest function has been looked for, so that it is known where its rows begin.
    assert there.writer.expire(0, EVERYTHING) is False
    there.take(old)
    assert there.writer.expire(2_000, EVERYTHING) is True
    assert there.texts() == ["3"]


def test_nodes_whose_clocks_are_apart_lose_no_lines(here: NodeFile, there: NodeFile) -> None:
    here.write("old", at_ms=1_000)
    here.write("ahead", at_ms=10_000_000)
    there.write("behind", at_ms=5_000_000)
    there.take(here.seal_all())
    assert there.writer.expire(2_000, EVERYTHING) is True
    assert there.texts() == ["ahead", "behind"]


def test_times_go_on_from_those_that_others_gave(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "logs.db", SECOND, 10_000_000)
    writer.open()
    with closing(writer):
        writer.write([Row(A, "r", Chunk(5_000_000, None, b"1\n"))], 5_000_000)
        assert writer.connection.execute("SELECT batch_ms, at_ms FROM chunks").fetchall() == [(10_000_000, 5_000_000)]


def test_what_a_database_that_was_set_back_does_not_know_is_sealed_again(here: NodeFile) -> None:
    for number in range(4):
        here.write(f"{number}")
        here.seal_all()
    # It knows the third, which is kept, and has deleted the first two.
    here.sealing.begin([Range(FIRST + 2, FIRST + 3)])
    (again,) = here.seal_all()
    assert again.segment.ids == Range(FIRST + 3, FIRST + 4)


def test_what_a_node_brought_before_it_was_killed_is_not_sealed_again(here: NodeFile) -> None:
    here.write("1", "2")
    assert here.sealing.next() is not None
    here.write("3")
    here.sealing.begin([Range(FIRST, FIRST + 2)])
    (sealed,) = here.seal_all()
    assert sealed.segment.ids == Range(FIRST + 2, FIRST + 3)
    # What was before all that the database knows and was not brought, as this node was lost, is.
    here.sealing.begin([Range(SECOND, SECOND + 1)])
    here.write("4")
    assert [each.segment.ids for each in here.seal_all()] == [Range(FIRST + 3, FIRST + 4)]


def test_a_copy_for_another_bucket_is_sealed_anew(here: NodeFile) -> None:
    here.write("1")
    (sealed,) = here.seal_all()
    unseal(here.path)
    unseal(here.path.with_name("not there"))
    assert here.sealing.here() == []
    assert [each.segment for each in here.seal_all()] == [sealed.segment]


def test_a_file_that_takes_the_place_of_a_damaged_one_gives_no_number_twice(here: NodeFile) -> None:
    here.write("1", "2")
    (before,) = here.seal_all()
    here.writer.replace()
    here.write("3")
    (after,) = here.seal_all()
    assert after.segment.ids.first == before.segment.ids.end
    assert here.take([before]) == [""]
    assert here.texts() == ["1", "2", "3"]
