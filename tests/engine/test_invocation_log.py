"""The log of an instance cut into calls: nothing is lost on its way to the keeper, and the tail is the end of it.

Run by pytest.
Never starts a process.
"""

from hypothesis import given
from hypothesis import strategies as st

from sesame.engine.invocation_log import Journal, LogSource
from sesame.model import limits

SOURCE = LogSource("s", "f", "LATEST", "c-1", "p", "l")
HELD_BYTES_MAX = 17 * limits.LOG_TAIL_BYTES


def journal() -> tuple[Journal, list[tuple[str, bytes]]]:
    kept: list[tuple[str, bytes]] = []
    return Journal(SOURCE, lambda _source, request_id, data, _more: kept.append((request_id, data))), kept


@given(st.lists(st.binary(max_size=9000), max_size=40))
def test_the_tail_is_the_end_of_what_was_kept(pieces: list[bytes]) -> None:
    made, kept = journal()
    made.begin("r-1")
    for piece in pieces:
        made.write(piece)
    assert b"".join(data for _, data in kept) == b"".join(pieces)
    assert made.tail() == b"".join(pieces)[-limits.LOG_TAIL_BYTES :]


def test_memory_stays_bounded_however_much_is_written() -> None:
    made, _kept = journal()
    made.begin("r-1")
    for _ in range(2000):
        made.write(b"x" * 1000)
        assert len(made._held) <= HELD_BYTES_MAX


def test_output_between_two_calls_belongs_to_the_one_before() -> None:
    made, kept = journal()
    made.write(b"import\n")
    made.begin("r-1")
    made.write(b"one\n")
    made.write(b"late\n")
    made.begin("r-2")
    made.write(b"two\n")
    assert kept == [("", b"import\n"), ("r-1", b"one\n"), ("r-1", b"late\n"), ("r-2", b"two\n")]
    assert made.tail() == b"two\n"


def test_every_line_carries_the_qualifier_of_its_call_as_it_was_written() -> None:
    kept: list[tuple[LogSource, str]] = []
    made = Journal(SOURCE, lambda source, request_id, _data, _more: kept.append((source, request_id)))
    made.write(b"import\n")
    for request_id, qualifier in (("r-1", "prod"), ("r-2", "prod"), ("r-3", "LATEST")):
        made.begin(request_id, qualifier)
        made.write(b"line\n")
    assert [(source.qualifier, request_id) for source, request_id in kept] == [
        ("", ""), ("prod", "r-1"), ("prod", "r-2"), ("LATEST", "r-3"),
    ]  # fmt: skip
    assert kept[1][0] is kept[2][0]
    assert {source.instance_id for source, _ in kept} == {"c-1"}


def test_a_line_of_ours_begins_at_the_start_of_a_line() -> None:
    made, _kept = journal()
    made.begin("r-1")
    made.ensure_new_line()
    made.line("FC Invoke Start")
    made.ensure_new_line()
    made.write(b"no newline")
    made.ensure_new_line()
    made.line("FC Invoke End")
    assert made.tail() == b"FC Invoke Start\r\nno newline\nFC Invoke End\r\n"
