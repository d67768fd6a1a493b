"""The lines of calls on a terminal: what they say, that a function cannot forge them, and that they hold up nothing.

Run by pytest. The shapes of error bodies are those of `tests/functions`, as the shim sends them.
"""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.conftest import build
from tests.support.fakes import FakeClocks
from tests.support.virtual_time import eventually

from sesame.cli import call_lines, call_text
from sesame.cli.call_lines import CALLS_PER_S, CALLS_TOGETHER_MAX, FLUSH_EVERY_S, REFUSED_EVERY_S, CallLines
from sesame.engine.interface import Observer
from sesame.model.errors import Exhausted, PlatformError
from sesame.model.invocation import FunctionError, Invocation, Outcome, Phases, Target

TARGET = Target("demo", "LATEST", "hello")


def outcome(**changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "payload": b"{}", "error": None, "duration_ms": 3.21, "memory_mb": 10.0, "log_tail": b"", "instance_id": "c-1",
        "version_id": "LATEST", "code_checksum": "1", "cold": False, "phases": Phases(), **changes,
    }  # fmt: skip
    return Outcome(**values)


def failed(body: object, reason: str = "unhandled", log: bytes = b"") -> Outcome:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return outcome(payload=payload, error=FunctionError("UnhandledInvocationError", reason), log_tail=log)


def shown(ended: Outcome | BaseException, invocation: Invocation | None = None, *, colors: bool = False) -> list[str]:
    call = call_text.call_of(FakeClocks.EPOCH, invocation or Invocation("r-1", TARGET, b""), ended)
    return list(call_text.lines_of(call, colors=colors))


def test_a_call_is_one_line() -> None:
    assert shown(outcome()) == ["22:13:20.000Z  demo/hello  ok 3.2 ms  r-1"]


def test_a_cold_call_says_where_the_time_went() -> None:
    phases = Phases(queue_ms=0.5, start_ms=20.0, initialize_ms=10.0, invoke_ms=3.0)
    (line,) = shown(outcome(cold=True, phases=phases))
    assert "  cold 30.5 ms (queue 0.5, start 20.0, initialize 10.0)  " in line


def test_qualifier_attempt_and_request_of_an_http_function_are_named() -> None:
    invocation = Invocation(
        "r-2", Target("demo", "prod", "web"), b"", retry_count=1, http_params={"method": "GET", "request_uri": "/a?b=1"}
    )
    (line,) = shown(outcome(http_params={"status": 404, "headers": []}), invocation)
    assert line == "22:13:20.000Z  demo/web:prod  GET /a?b=1 → 404  ok 3.2 ms  attempt 2  r-2"


RAISED = {
    "errorMessage": "no such key",
    "errorType": "LookupError",
    "stackTrace": [
        ['File "/code/main.py"', "line 7", "in handler", "return find(event)"],
        ['File "/code/main.py"', "line 3", "in find"],
    ],
}


def test_a_failure_shows_the_functions_traceback_as_python_prints_it() -> None:
    assert shown(failed(RAISED))[1:] == [
        "    Traceback (most recent call last):",
        '      File "/code/main.py", line 7, in handler',
        "        return find(event)",
        '      File "/code/main.py", line 3, in find',
        "    LookupError: no such key",
        "    more: sesame logs demo/hello -r r-1",
    ]


def test_the_traceback_of_the_functions_own_python_comes_first() -> None:
    trace = "Traceback (most recent call last):\n  ...\nKeyError: 1\n\nDuring handling of it:\n\x1b[1mValueError: 2\n"
    ended = outcome(payload=b"{}", error=FunctionError("UnhandledInvocationError", "unhandled"), trace=trace)
    assert shown(ended)[1:-1] == [f"    {line}".replace("\x1b", "\\x1b") for line in trace.rstrip("\n").split("\n")]


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (
            {"errorMessage": "Syntax error in module 'main'", "errorType": "UserCodeSyntaxError",
             "stackTrace": ['File "/code/main.py"', "line 4", "def broken(:", "SyntaxError: invalid syntax"]},
            ["Traceback (most recent call last):", '  File "/code/main.py", line 4', "    def broken(:",
             "SyntaxError: invalid syntax", "Syntax error in module 'main'"],
        ),
        (
            {"errorMessage": "Unable to import module 'main'", "errorType": "ImportModuleError",
             "stackTrace": ["ModuleNotFoundError: No module named 'absent'"]},
            ["ModuleNotFoundError: No module named 'absent'", "Unable to import module 'main'"],
        ),
        (
            {"errorMessage": "Module initialization error: 'x'", "errorType": "UserCodeError",
             "stackTrace": ['File "/code/main.py"', "line 2", "in <module>", "f()", 'File "/code/main.py"', "line 1",
                            "in f", "ValueError: x"]},
            ["Traceback (most recent call last):", '  File "/code/main.py", line 2, in <module>', "    f()",
             '  File "/code/main.py", line 1, in f', "ValueError: x", "Module initialization error: 'x'"],
        ),
        ({"errorMessage": "", "errorType": "KeyError"}, ["KeyError"]),
        ({"errorMessage": None}, [""]),
        ({"errorMessage": "a\nb", "errorType": "E"}, ["E: a", "b"]),
        ({"errorMessage": "m", "errorType": "E", "stackTrace": 5}, ["E: m"]),
        ({"errorMessage": "m", "errorType": "E", "stackTrace": [[], ["x"]]},
         ["Traceback (most recent call last):", "  ", "  ", "    x", "E: m"]),
        ([1], ["[1]"]),
        (b"\xff no json", ["� no json"]),
        (b"[" * 100_000, ["[" * call_text.TEXT_CHARS_MAX + " …"]),
    ],
)  # fmt: skip
def test_every_form_of_error_body_is_shown(body: object, lines: list[str]) -> None:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert call_text.traceback_of(payload) == lines


def test_a_deep_recursion_is_shortened_as_python_does_it() -> None:
    frames = [['File "/code/main.py"', "line 2", "in f", "f()"]] * 900
    lines = call_text.traceback_of(json.dumps({"errorType": "RecursionError", "stackTrace": frames}).encode())
    assert len(lines) == 1 + 2 * call_text.SAME_FRAMES_MAX + 1 + 1
    assert "  [Previous line repeated 897 more times]" in lines
    frames = [['File "/code/main.py"', f"line {number}", "in f"] for number in range(900)]
    lines = call_text.traceback_of(json.dumps({"errorType": "RecursionError", "stackTrace": frames}).encode())
    assert f"  … {900 - call_text.OUTER_FRAMES - call_text.INNER_FRAMES} frames left out …" in lines


def test_a_call_that_took_too_long_shows_what_its_log_ends_with() -> None:
    log = b'FC Invoke Start RequestId: r\r\nworking\nDumping stack trace after function timeout\n  File "/code/a.py"\n'
    lines = shown(failed({"errorMessage": "Function timed out after 3 seconds"}, "timeout", log))
    assert "timed out 3.2 ms" in lines[0]
    assert lines[1:5] == [
        "    working",
        "    Dumping stack trace after function timeout",
        '      File "/code/a.py"',
        "    Function timed out after 3 seconds",
    ]


def test_a_function_cannot_write_to_the_terminal() -> None:
    body = {"errorMessage": "\x1b[2Jgone\r\x9b", "errorType": "\x1b]0;title\x07", "stackTrace": [["\x1b[1m"]]}
    invocation = Invocation("\x1b[31m", TARGET, b"", http_params={"method": "GET", "request_uri": "/\x1b[2J"})
    for ended in (failed(body), outcome(), failed(b"", "exit", b"\x1b[2J")):
        assert "\x1b" not in "".join(shown(ended, invocation))
        coloured = "".join(shown(ended, invocation, colors=True))
        for own in (call_text.GREEN, call_text.RED, call_text.DIM, call_text.RESET):
            coloured = coloured.replace(own, "")
        assert "\x1b" not in coloured


def test_what_never_ran_is_told_with_its_reason() -> None:
    invocation = Invocation("r-1", TARGET, b"")
    said: list[str] = []
    clocks = FakeClocks()
    lines = CallLines(_write_to(said), clocks)
    lines.open()
    for error in (Exhausted("100 instances run"), PlatformError("no memory"), asyncio.CancelledError()):
        lines.take(invocation, error)
    lines.close()
    assert "not run: ResourceExhausted: " in said[0]
    assert "not run: PlatformError: no memory" in said[1]
    assert "not run: its caller left, or Sesame stops" in said[2]


def _write_to(said: list[str], gate: threading.Event | None = None) -> Callable[[str], None]:
    def write(text: str) -> None:
        if gate is not None:
            gate.wait()
        said.extend(text.splitlines(keepends=True))

    return write


def test_of_a_flood_as_many_calls_are_shown_as_fit_and_the_rest_is_counted() -> None:
    said: list[str] = []
    lines = CallLines(_write_to(said), FakeClocks())
    lines.open()
    for _ in range(10 * CALLS_TOGETHER_MAX):
        lines.take(Invocation("r", TARGET, b"x"), outcome())
    lines.take(Invocation("r", TARGET, b"x"), failed(RAISED))
    lines.close()
    assert len(said) == CALLS_TOGETHER_MAX + 1
    assert said[-1] == f"… {9 * CALLS_TOGETHER_MAX + 1} more calls not shown, 1 of them failed …\n"


async def test_a_flood_that_goes_on_is_shown_at_a_bounded_rate_and_after_it_each_call_is() -> None:
    said: list[str] = []
    clocks = FakeClocks()
    lines = CallLines(_write_to(said), clocks)
    lines.open()
    flushes, shown_of, flushed = 40, 2 * CALLS_TOGETHER_MAX, 0

    def each_was_counted() -> bool:
        return sum("not shown" in line for line in said) == flushed

    while flushed < flushes:
        flushed += 1
        for _ in range(shown_of):
            lines.take(Invocation("flood", TARGET, b""), outcome())
        clocks.advance(FLUSH_EVERY_S)
        await eventually(each_was_counted)
    ran = sum("flood" in line for line in said)
    # At each flush perhaps one less, as time is no whole number.
    assert 0 <= CALLS_TOGETHER_MAX + (flushes - 1) * FLUSH_EVERY_S * CALLS_PER_S - ran <= flushes
    assert sum(int(line.split()[1]) for line in said if "not shown" in line) == flushes * shown_of - ran
    clocks.advance(60)
    for _ in range(CALLS_TOGETHER_MAX):
        lines.take(Invocation("after", TARGET, b""), outcome())
    lines.close()
    assert sum("after" in line for line in said) == CALLS_TOGETHER_MAX


def test_of_calls_refused_at_a_cap_one_of_each_function_is_shown_at_a_time_and_the_rest_is_counted() -> None:
    said: list[str] = []
    clocks = FakeClocks()
    lines = CallLines(_write_to(said), clocks)
    lines.open()
    other = Target("orders", "LATEST", "other")
    for _ in range(2):
        for target, calls in ((TARGET, 7), (other, 1)):
            for _ in range(calls):
                lines.take(Invocation("r", target, b"x"), Exhausted("100 instances run"))
        lines.take(Invocation("r", TARGET, b"x"), outcome())
        clocks.advance(REFUSED_EVERY_S)
    for _ in range(3):
        lines.take(Invocation("r", TARGET, b"x"), Exhausted("100 instances run"))
    lines.close()
    assert sum("not run: ResourceExhausted" in line for line in said) == 2 * 2 + 1
    assert sum("  ok " in line for line in said) == 2
    counted = [line for line in said if line.startswith("…")]
    name = call_text.name_of(TARGET)
    assert counted == [f"… {more} more calls of {name} refused at the cap …\n" for more in (6, 6, 2)]


async def test_a_terminal_that_takes_nothing_holds_up_nothing_and_is_told_what_it_missed() -> None:
    said: list[str] = []
    gate, clocks = threading.Event(), FakeClocks()
    lines = CallLines(_write_to(said, gate), clocks)
    lines.open()
    lines.take(Invocation("first", TARGET, b""), outcome())
    for _ in range(5):
        clocks.advance(FLUSH_EVERY_S)
        for _ in range(CALLS_TOGETHER_MAX):
            lines.take(Invocation("later", TARGET, b""), outcome())
    assert said == []
    gate.set()
    await eventually(lambda: len(said) == 1)

    def shown_all() -> bool:
        clocks.advance(FLUSH_EVERY_S)
        return "more calls not shown" in said[-1]

    await eventually(shown_all)
    assert said[-1] == f"… {4 * CALLS_TOGETHER_MAX} more calls not shown …\n"
    lines.close()


def test_a_terminal_that_is_gone_ends_nothing() -> None:
    def write(_text: str) -> None:
        raise OSError(5, "Input/output error")

    lines = CallLines(write, FakeClocks())
    lines.open()
    for _ in range(3 * CALLS_TOGETHER_MAX):
        lines.take(Invocation("r", TARGET, b""), outcome())
    lines.close()


def test_failures_alone_where_only_they_are_asked_for() -> None:
    said: list[str] = []
    lines = CallLines(_write_to(said), FakeClocks(), failures_only=True)
    lines.open()
    lines.take(Invocation("good", TARGET, b""), outcome())
    lines.take(Invocation("bad", TARGET, b""), failed(RAISED))
    lines.close()
    assert "bad" in said[0]
    assert not any("good" in line for line in said)


def test_neither_event_nor_answer_is_kept_until_a_call_is_shown() -> None:
    call = call_text.call_of(0.0, Invocation("r", TARGET, b"event" * 1000), outcome(payload=b"answer" * 1000))
    assert call.body == b""
    large = failed(b"x" * (call_text.BODY_BYTES_MAX + 1))
    assert len(call_text.call_of(0.0, Invocation("r", TARGET, b""), large).body) == call_text.BODY_BYTES_MAX


def test_colours_are_left_out_where_stderr_is_no_terminal_or_the_user_wants_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for terminal, refused, coloured in ((True, "", True), (True, "1", False), (False, "", False)):
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal)
        monkeypatch.setenv("NO_COLOR", refused)
        lines = call_lines.to_stderr(FakeClocks())
        lines.open()
        lines.take(Invocation("r", TARGET, b""), outcome())
        lines.close()
        assert ("\x1b[" in capsys.readouterr().err) == coloured


async def test_the_engine_tells_its_observer_of_every_call_and_of_all_that_is_written() -> None:
    ended: list[tuple[str, object]] = []
    wrote: list[bytes] = []
    engine = build(
        observer=Observer(
            ended=lambda invocation, how: ended.append((invocation.request_id, how)),
            wrote=lambda _source, _request_id, data, _more: wrote.append(bytes(data)),
        )
    )
    engine.deploy()
    answered = await engine.call(request_id="r-1")
    with pytest.raises(Exception, match="nothing"):
        await engine.call("nothing", request_id="r-2")
    assert ended[0] == ("r-1", answered)
    assert (ended[1][0], type(ended[1][1]).__name__) == ("r-2", "NotFound")
    assert any(line.startswith(b"FC Invoke Start") for line in wrote)
    assert [data for _source, _request_id, data in engine.kept] == wrote
