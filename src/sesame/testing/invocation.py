"""One recorded invocation, and its form in the report of a failed test.

Created by `testing.cloud` from the records of `testing.recorder`.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SHOWN_CHARS = 1000
LOG_SHOWN_CHARS = 20_000


@dataclass(frozen=True)
class Invocation:
    """One attempt.

    `error` is "" on success, else the reason of the failure: unhandled, timeout, out_of_memory, refused …

    `kind` is "other" for the output of a hook or of a starting instance, which has only a `log`.
    An attempt that is not `done` has no event yet.
    """

    request_id: str
    service: str
    function: str
    kind: str
    qualifier: str
    event: bytes
    payload: bytes
    error: str
    message: str
    duration_ms: float
    cold: bool
    attempt: int
    done: bool
    log: str

    @property
    def name(self) -> str:
        qualifier = f":{self.qualifier}" if self.qualifier not in ("", "LATEST") else ""
        return f"{self.service}/{self.function}{qualifier}"

    def json(self) -> Any:
        """The result, parsed as JSON."""
        return json.loads(self.payload)


def decoded(record: dict[str, Any]) -> Invocation:
    def data(name: str) -> bytes:
        return base64.b64decode(record.get(name, ""))

    return Invocation(
        request_id=record["request_id"],
        service=record["service"],
        function=record["function"],
        kind=record.get("kind", "invoke"),
        qualifier=record.get("qualifier", ""),
        event=data("event"),
        payload=data("payload"),
        error=record.get("error", ""),
        message=record.get("message", ""),
        duration_ms=record.get("duration_ms", 0.0),
        cold=record.get("cold", False),
        attempt=record.get("attempt", 0),
        done=record.get("done", False),
        log=data("log").decode("utf-8", "replace").replace("\r\n", "\n"),
    )


def report(invocations: Iterable[Invocation]) -> str:
    """Every invocation with its event, result, traceback and log."""
    return "\n".join(_shown(each) for each in invocations)


def traceback_of(payload: bytes) -> str:
    """The function's traceback as Python prints it, if the payload is an error body with one; else ""."""
    try:
        body = json.loads(payload)
        frames = body["stackTrace"]
        summary = f"{body['errorType']}: {body['errorMessage']}"
    except (ValueError, LookupError, TypeError):
        return ""
    return "Traceback (most recent call last):\n" + "".join(map(_frame, frames)) + summary


def _frame(frame: object) -> str:
    if isinstance(frame, str):
        return frame if frame.endswith("\n") else f"{frame}\n"
    if isinstance(frame, list) and len(frame) == 4:
        *where, text = map(str, frame)
        return f"  {', '.join(where)}\n" + (f"    {text}\n" if text else "")
    return f"  {frame}\n"


def _shown(each: Invocation) -> str:
    if each.kind != "invoke":
        return f"--- {each.name}: log outside calls\n{_indented(each.log)}"
    how = "succeeded" if not each.error else f"failed ({each.error})"
    how = how if each.done else "still runs"
    cold = ", cold" if each.cold else ""
    again = f", attempt {each.attempt}" if each.attempt > 1 else ""
    lines = [f"--- {each.name} {how} in {each.duration_ms:.0f} ms{cold}{again}, request {each.request_id}"]
    if each.done:
        lines.append(f"event:  {short(each.event)}")
    traceback = traceback_of(each.payload) if each.error else ""
    if traceback:
        lines.append(_indented(traceback))
    elif each.done and each.error in ("refused", "ended"):
        lines.append(f"reason: {each.message}")
    elif each.done:
        lines.append(f"result: {short(each.payload)}")
    if each.log:
        lines.append("log:\n" + _indented(each.log[-LOG_SHOWN_CHARS:]))
    return "\n".join(lines)


def short(data: bytes) -> str:
    """The data as text if possible, truncated if long."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = repr(data)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]} … ({len(data)} bytes)"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
