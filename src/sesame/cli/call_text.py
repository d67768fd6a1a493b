"""Formats one call for a terminal: a line, and for a failure the function's traceback, as Python prints it.

Used by `cli.call_lines`. A function's output is untrusted: it may have any form, its control characters are escaped,
and its length is limited.
"""

import datetime
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from sesame.cli import output
from sesame.model.invocation import Invocation, Outcome, Phases, Target
from sesame.model.owner import label

# Limits the bytes of an error body that are parsed, and the characters of a text that are shown.
BODY_BYTES_MAX = 256 * 1024
TEXT_CHARS_MAX = 4000
TRACE_CHARS_MAX = 64 * 1024
# How many outermost and innermost frames of a longer stack are shown.
OUTER_FRAMES, INNER_FRAMES = 10, 30
# Like Python, counts repetitions of a frame beyond this number instead of printing them.
SAME_FRAMES_MAX = 3
LOG_LINES_MAX = 30

GREEN, RED, YELLOW, DIM, RESET = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
# By `FunctionError.reason`.
_FAILURES = {
    "unhandled": "failed",
    "initializer": "initializer failed",
    "timeout": "timed out",
    "exit": "process ended",
    "out_of_memory": "out of memory",
    "disk": "/tmp full",
    "protocol": "broke the protocol",
    "killed": "killed",
    "response_too_large": "response too large",
}
# Errors whose body has the function's own traceback; for others the end of its log says more.
_TRACED = frozenset({"unhandled", "initializer", "response_too_large"})
_PLATFORM_LINES = ("FC Invoke ", "FC Initialize ", "FC Load ", "Duration: ", "Cold start: ")


class Call(msgspec.Struct, frozen=True, gc=False):
    """The parts of a call kept until it is shown. `refusal` is why it never ran, `failure` how it failed."""

    at: float
    target: Target
    request_id: str
    attempt: int = 1
    http: tuple[str, str] | None = None
    status: int | None = None
    duration_ms: float = 0.0
    cold: Phases | None = None
    failure: str = ""
    body: bytes = b""
    log: bytes = b""
    trace: str = ""
    refusal: str = ""
    loaded: bool = False


def loaded_call(at: float, invocation: Invocation, outcome: Outcome) -> Call:
    """A handler that was loaded ahead of its next call."""
    return msgspec.structs.replace(call_of(at, invocation, outcome), loaded=True)


def output_lines(name: str, data: bytes) -> list[str]:
    """A function's output, each line preceded by the function's name."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\n")
    return [f"    {name} | {output.harmless(line)}" for line in text.split("\n")]


def call_of(at: float, invocation: Invocation, ended: Outcome | BaseException, refusal: str = "") -> Call:
    """`at` is in Unix seconds. Keeps neither event nor answer."""
    params = invocation.http_params
    http = None if params is None else (str(params.get("method", "")), str(params.get("request_uri", "")))
    attempt = invocation.retry_count + 1
    if not isinstance(ended, Outcome):
        return Call(at, invocation.target, invocation.request_id, attempt, http, refusal=refusal or _named(ended))
    cold = ended.phases if ended.cold else None
    error = ended.error
    if error is None:
        status = None if ended.http_params is None else ended.http_params.get("status")
        code = status if isinstance(status, int) else None
        return Call(at, invocation.target, invocation.request_id, attempt, http, code, ended.duration_ms, cold)
    return Call(
        at, invocation.target, invocation.request_id, attempt, http, None, ended.duration_ms, cold, error.reason,
        ended.payload[:BODY_BYTES_MAX], ended.log_tail, ended.trace[:TRACE_CHARS_MAX],
    )  # fmt: skip


def lines_of(call: Call, *, colors: bool) -> Iterator[str]:
    """The call's line; for a failure also its cause and where to look further, indented."""
    yield _line(call, colors=colors)
    if not call.failure:
        return
    if call.failure not in _TRACED:
        reason: Iterable[str] = _end_of_log(call)
    else:
        reason = call.trace.rstrip("\n").split("\n") if call.trace else traceback_of(call.body)
    for line in reason:
        yield f"    {output.harmless(line)}"
    name = label(call.target.service, call.target.function)
    yield _painted(f"    more: sesame logs {name} -r {output.harmless(call.request_id)}", DIM, colors=colors)


def _line(call: Call, *, colors: bool) -> str:
    when = datetime.datetime.fromtimestamp(call.at, datetime.UTC).time().isoformat("milliseconds")
    if call.refusal:
        how, color = f"not run: {call.refusal}", YELLOW
    elif call.failure:
        failure = "cannot be loaded" if call.loaded else _FAILURES.get(call.failure, call.failure)
        how, color = f"{failure} {call.duration_ms:.1f} ms", RED
    elif call.loaded:
        how, color = f"loaded in {call.duration_ms:.1f} ms", GREEN
    else:
        how, color = f"ok {call.duration_ms:.1f} ms", GREEN
    parts = [_painted(f"{when}Z", DIM, colors=colors), output.harmless(name_of(call.target))]
    if call.http is not None:
        status = "" if call.status is None else f" → {call.status}"
        parts.append(output.harmless(f"{call.http[0][:20]} {_cut(call.http[1], 120)}{status}"))
    parts.append(_painted(_cut(how), color, colors=colors))
    if call.cold is not None:
        parts.append(_painted(_cold(call.cold), YELLOW, colors=colors))
    if call.attempt > 1:
        parts.append(f"attempt {call.attempt}")
    parts.append(_painted(call.request_id, DIM, colors=colors))
    return "  ".join(parts)


def name_of(target: Target) -> str:
    """The name in the form of `model.owner.label`."""
    return label(target.service, target.function, target.qualifier)


def traceback_of(body: bytes) -> list[str]:
    """Formats an error body's stack as Python does; only the message if it has no stack."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _split(body.decode("utf-8", "replace"))
    if not isinstance(found, dict):
        return _split(body.decode("utf-8", "replace"))
    kind, text = _word(found.get("errorType")), _word(found.get("errorMessage"))
    last = f"{kind}: {text}" if kind and text else kind or text
    frames, own_end = _frames(found.get("stackTrace"))
    if own_end and own_end != last:
        # The exception raised while loading the module; the message in the error body is the platform's.
        last = f"{own_end}\n{text}" if text and text not in own_end else own_end
    header = ["Traceback (most recent call last):"] if frames else []
    return [*header, *_shortened(frames), *_split(last)]


def _frames(stack: object) -> tuple[list[str], str]:
    """Each frame as Python prints it, and the exception's line if the stack ends with it."""
    if not isinstance(stack, list):
        return [], ""
    if stack and all(isinstance(frame, list) for frame in stack):
        return [_frame([_word(part) for part in frame]) for frame in stack], ""
    flat = [_word(part) for part in stack]
    ending = flat.pop() if flat else ""
    groups: list[list[str]] = []
    for part in flat:
        if part.startswith('File "') or not groups:
            groups.append([])
        groups[-1].append(part)
    return [_frame(group) for group in groups], ending


def _frame(parts: list[str]) -> str:
    """Formats `File "…"`, `line 3`, `in name` and the source line; syntax errors have no name."""
    place = [part for part in parts[:3] if part.startswith(('File "', "line ", "in "))]
    return "\n    ".join([f"  {', '.join(place)}", *parts[len(place) :]])


def _shortened(frames: list[str]) -> Iterator[str]:
    """Lines of the frames, without repetitions and without the middle of a long stack."""
    collapsed: list[str] = []
    same = 0
    for number, frame in enumerate(frames):
        same = same + 1 if number and frame == frames[number - 1] else 1
        if same <= SAME_FRAMES_MAX:
            collapsed.append(frame)
        if same > SAME_FRAMES_MAX and (number + 1 == len(frames) or frames[number + 1] != frame):
            collapsed.append(f"  [Previous line repeated {same - SAME_FRAMES_MAX} more times]")
    left_out = len(collapsed) - OUTER_FRAMES - INNER_FRAMES
    if left_out > 0:
        collapsed[OUTER_FRAMES:-INNER_FRAMES] = [f"  … {left_out} frames left out …"]
    for frame in collapsed:
        yield from _split(frame)


def _end_of_log(call: Call) -> Iterator[str]:
    """The function's last output, including the stack of a call that timed out; then the answer's message."""
    lines = call.log.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n").split("\n")
    own = [line for line in lines if line and not line.startswith(_PLATFORM_LINES)]
    for line in own[-LOG_LINES_MAX:]:
        yield _cut(line)
    yield from traceback_of(call.body)


def _cold(phases: Phases) -> str:
    parts = (("queue", phases.queue_ms), ("start", phases.start_ms), ("initialize", phases.initialize_ms))
    told = ", ".join(f"{name} {ms:.1f}" for name, ms in parts if ms)
    return f"cold {sum(ms for _name, ms in parts):.1f} ms ({told})"


def _named(error: BaseException) -> str:
    if type(error).__name__ == "CancelledError":
        return "its caller left, or Sesame stops" if not error.args else f"{error.args[0]}"
    return f"{type(error).__name__}: {error}"


def _word(value: Any) -> str:
    return "" if value is None else str(value)


def _split(text: str) -> list[str]:
    return _cut(text).split("\n")


def _cut(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    return text if len(text) <= chars_max else f"{text[:chars_max]} …"


def _painted(text: str, color: str, *, colors: bool) -> str:
    text = output.harmless(text)
    return f"{color}{text}{RESET}" if colors else text


def joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
