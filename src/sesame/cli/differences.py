"""Describes how two outcomes of a call differ: result, error, log. Used by `sesame replay` and `compare`.

Ignores what differs in every call: request ids, times, the platform's lines.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sesame.model.recording import RecordedOutcome

# Log lines in the cloud's format start with their time and the request id.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?")
_PLATFORM = re.compile(
    r"(?:FC (?:Invoke|Initialize|PreStop|PreFreeze) (?:Start|End) RequestId: |Duration: [\d.]+ ms, |Cold start: )"
)
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_SHOWN_LINES_MAX = 60
_SHOWN_CHARS_MAX = 400
# Limits the lines of long texts compared after the first difference, of which only a few are shown.
_COMPARED_LINES_MAX = 2000
_CONTEXT_LINES = 2


class Difference(msgspec.Struct, frozen=True):
    """`what` is result, error, http or log; `lines` are a diff."""

    what: str
    lines: tuple[str, ...]


def ended(document: Mapping[str, Any]) -> RecordedOutcome:
    """Decodes a call's outcome from the server's answer."""
    return msgspec.convert(document, RecordedOutcome)


def differences(before: RecordedOutcome, after: RecordedOutcome, names: tuple[str, str]) -> list[Difference]:
    """Compares two outcomes, JSON by value; empty if they are equal. `names` are the titles of each diff."""
    found = [
        Difference(what, tuple(_diff(one, other, names)))
        for what, one, other in (
            ("error", _error(before), _error(after)),
            ("result", _result(before), _result(after)),
            ("http", _json_lines(before.http_result), _json_lines(after.http_result)),
            ("log", log_lines(before.log), log_lines(after.log)),
        )
        if one != other
    ]
    if (before.result is None or after.result is None) and before.result_bytes != after.result_bytes:
        found.append(Difference("result", (f"{before.result_bytes} bytes → {after.result_bytes} bytes",)))
    return found


def log_lines(log: bytes) -> list[str]:
    """The function's log lines, with request ids and times replaced and the platform's lines removed."""
    text = log.decode("utf-8", "replace").replace("\r\n", "\n")
    lines = [line for line in text.split("\n") if line.strip() and not _PLATFORM.match(line)]
    return [_UUID.sub("<id>", _TIME.sub("<time>", line)) for line in lines]


def took(before: RecordedOutcome, after: RecordedOutcome) -> str:
    cold = " (cold)" if before.cold else ""
    return f"{before.duration_ms:.2f} ms{cold} → {after.duration_ms:.2f} ms{' (cold)' if after.cold else ''}"


def _error(outcome: RecordedOutcome) -> list[str]:
    return [f"{outcome.error_type} ({outcome.error_reason})"] if outcome.error_type else ["no error"]


def _result(outcome: RecordedOutcome) -> list[str]:
    return [] if outcome.result is None else _json_lines(outcome.result)


def _json_lines(data: bytes) -> list[str]:
    """JSON indented with sorted keys, since their order has no meaning; request ids are replaced."""
    text = data.decode("utf-8", "backslashreplace")
    try:
        document = json.loads(text)
        if isinstance(document, dict | list):
            text = json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True)
    except (ValueError, RecursionError):
        pass
    return [_UUID.sub("<id>", line) for line in text.split("\n")]


def _diff(one: list[str], other: list[str], names: tuple[str, str]) -> Iterator[str]:
    same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    part = slice(max(same - _CONTEXT_LINES, 0), same + _COMPARED_LINES_MAX)
    lines = difflib.unified_diff(one[part], other[part], *names, lineterm="", n=_CONTEXT_LINES)
    for number, line in enumerate(lines):
        if number == _SHOWN_LINES_MAX:
            yield "…"
            return
        if not line.startswith("@@"):
            yield line if len(line) <= _SHOWN_CHARS_MAX else f"{line[:_SHOWN_CHARS_MAX]} …"
