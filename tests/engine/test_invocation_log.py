"""The log of an invocation: nothing is lost on its way to the sink, the tail is its end, memory is bounded.

Run by pytest.
Never starts a process.
"""

from hypothesis import given
from hypothesis import strategies as st
from tests.engine.conftest import Engine
from tests.support.fakes import FakeClocks

from sesame.engine.instance import Instance
from sesame.engine.invocation_log import InvocationLog, LogSource
from sesame.model import limits
from sesame.model.invocation import Target

SOURCE = LogSource("s", "f", "LATEST", "c-1", "p", "l")
HELD_BYTES_MAX = 17 * limits.LOG_TAIL_BYTES
Kept = list[tuple[LogSource, str, bytes]]


def make() -> tuple[InvocationLog, Kept]:
    kept: Kept = []
    return InvocationLog(SOURCE, "r-1", lambda source, request, data, _: kept.append((source, request, data))), kept


def instance(engine: Engine) -> tuple[Instance, Kept]:
    kept: Kept = []
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    sink = lambda source, request, data, _: kept.append((source, request, data))  # noqa: E731
    return Instance(snapshot, "c-1", sink, FakeClocks()), kept


@given(st.lists(st.binary(max_size=9000), max_size=40))
def test_the_tail_is_the_end_of_what_was_kept(pieces: list[bytes]) -> None:
    log, kept = make()
    for piece in pieces:
        log.write(piece)
    assert b"".join(data for _, _, data in kept) == b"".join(pieces)
    assert log.tail() == b"".join(pieces)[-limits.LOG_TAIL_BYTES :]


def test_memory_stays_bounded_however_much_is_written() -> None:
    log, _kept = make()
    for _ in range(2000):
        log.write(b"x" * 1000)
        assert log.held_bytes() <= HELD_BYTES_MAX


@given(st.lists(st.binary(max_size=9000), max_size=40))
def test_as_much_is_held_as_was_asked_for_and_what_is_cut_is_counted(pieces: list[bytes]) -> None:
    log, _kept = make()
    log.hold(20_000)
    for piece in pieces:
        log.write(piece)
        assert log.held_bytes() <= 40_000
    written, whole = b"".join(pieces), log.whole()
    assert (whole.data, whole.cut_bytes) == (written[-20_000:], max(len(written) - 20_000, 0))
    assert log.tail() == written[-limits.LOG_TAIL_BYTES :]


def test_output_between_two_calls_belongs_to_the_call_before(engine: Engine) -> None:
    made, kept = instance(engine)
    made.write_output(b"import\n")
    made.begin_log("r-1")
    made.write_output(b"one\n")
    made.write_output(b"late\n")
    second = made.begin_log("r-2")
    made.write_output(b"two\n")
    assert [(request, data) for _, request, data in kept] == [
        ("", b"import\n"), ("r-1", b"one\n"), ("r-1", b"late\n"), ("r-2", b"two\n"),
    ]  # fmt: skip
    assert second.tail() == b"two\n"


def test_every_line_carries_the_qualifier_of_its_call_as_it_was_written(engine: Engine) -> None:
    made, kept = instance(engine)
    made.write_output(b"import\n")
    for request_id, qualifier in (("r-1", "prod"), ("r-2", "prod"), ("r-3", "LATEST")):
        made.begin_log(request_id, qualifier)
        made.write_output(b"line\n")
    assert [(source.qualifier, request) for source, request, _ in kept] == [
        ("", ""), ("prod", "r-1"), ("prod", "r-2"), ("LATEST", "r-3"),
    ]  # fmt: skip
    assert kept[1][0] is kept[2][0]
    assert {source.instance_id for source, _, _ in kept} == {"c-1"}


def test_a_line_of_the_platform_begins_at_the_start_of_a_line() -> None:
    log, _kept = make()
    log.ensure_new_line()
    log.line("FC Invoke Start")
    log.ensure_new_line()
    log.write(b"no newline")
    log.ensure_new_line()
    log.line("FC Invoke End")
    assert log.tail() == b"FC Invoke Start\r\nno newline\nFC Invoke End\r\n"
