"""What is the same in every way but ids and times is the same; everything else is told."""

import msgspec
from tests.support.recordings import recorded_outcome

from sesame.cli.differences import differences, ended, log_lines, took
from sesame.model.recording import RecordedOutcome

ID, OTHER = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"


def of(**given: object) -> RecordedOutcome:
    return ended(msgspec.to_builtins(recorded_outcome(**given)))


def told(before: RecordedOutcome, after: RecordedOutcome) -> dict[str, tuple[str, ...]]:
    return {each.what: each.lines for each in differences(before, after, ("old", "new"))}


def test_ids_times_and_the_platforms_lines_are_no_difference() -> None:
    def log(request_id: str, time: str) -> bytes:
        return (
            f"FC Invoke Start RequestId: {request_id}\r\n{time} {request_id} [INFO] hello\n"
            f"FC Invoke End RequestId: {request_id}\r\n\nDuration: {len(time)}.25 ms, Billed Duration: 3 ms\n"
            "Cold start: queue 0.00 ms, start 4.00 ms\n"
        ).encode()

    before = of(log=log(ID, "2027-01-15T10:00:00.123Z"), result=ID.encode())
    after = of(log=log(OTHER, "2028-02-16 11:11:11"), result=OTHER.encode(), duration_ms=9.0, cold=True)
    assert told(before, after) == {}
    assert log_lines(before.log) == ["<time> <id> [INFO] hello"]
    assert took(before, after) == "1.50 ms → 9.00 ms (cold)"


def test_each_part_that_differs_is_told() -> None:
    before = of(result=b'{"a": 1, "b": [1]}', log=b"one\ntwo\n", http_result=b'{"status": 200}')
    after = of(
        result=b'{"a": 1, "b": [2]}', log=b"one\nthree\n", http_result=b'{"status": 500}',
        error_type="UnhandledInvocationError", error_reason="unhandled",
    )  # fmt: skip
    found = told(before, after)
    assert set(found) == {"error", "result", "log", "http"}
    assert found["log"] == ("--- old", "+++ new", " one", "-two", "+three")
    assert {"-    1", "+    2"} <= set(found["result"])
    assert "+UnhandledInvocationError (unhandled)" in found["error"]


def test_results_that_were_not_kept_are_compared_by_size() -> None:
    assert told(of(result=None, result_bytes=5), of(result=None, result_bytes=5)) == {}
    assert told(of(result=None, result_bytes=5), of(result=None, result_bytes=6)) == {"result": ("5 bytes → 6 bytes",)}


def test_json_is_compared_by_content() -> None:
    assert told(of(result=b'{"a": 1, "b": 2}'), of(result=b'{"b":2,"a":1}')) == {}
    assert set(told(of(result=b"[1, 2]"), of(result=b"[2, 1]"))) == {"result"}


def test_bytes_that_are_no_text_are_compared() -> None:
    assert set(told(of(result=b"\xff"), of(result=b"\xfe"))) == {"result"}


def test_a_diff_is_bounded() -> None:
    before = of(log="\n".join(map(str, range(1000))).encode())
    assert len(told(before, of(log=b"x" * 10_000))["log"]) <= 61
