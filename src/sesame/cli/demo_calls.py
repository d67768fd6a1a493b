"""What the demo deploys and calls, and what the manual says must come back.

Read by `cli.demo`. Holds the story only; talks to nobody.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent / "demo_functions"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the SDK hands its caller for one call: a body with headers, or (`failed`) an FcError, which has none.

    `duration_ms` and `log` are the headers' word; `round_trip_ms` is the caller's own clock.
    """

    body: bytes
    failed: bool
    request_id: str
    round_trip_ms: float
    duration_ms: str = ""
    log: str = ""


# Gives the empty string, or says what is wrong with the answer.
Check = Callable[[Answer], str]


class DemoFunction(msgspec.Struct, frozen=True, kw_only=True):
    """One function of the manual's page; `folder` is deployed as it is."""

    name: str
    title: str
    timeout_s: int = 10
    initializer: str = ""
    handler: str = "main.my_handler"

    @property
    def folder(self) -> Path:
        return FOLDER / self.name


class DemoCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a function."""

    event: bytes
    temperature: str
    check: Check
    shows_log: bool = False


def answers(pattern: str) -> Check:
    """The whole answer matches the regular expression, and is no error."""

    def check(answer: Answer) -> str:
        found = answer.body.decode("utf-8", "replace")
        if answer.failed or not re.fullmatch(pattern, found):
            return f"expected {pattern!r}, found {'the error ' if answer.failed else ''}{found!r}"
        return ""

    return check


def fails(error_type: str | None, message: str) -> Check:
    """An error body as in reference/runtime.md §6, with its type (None: it has none) and a message that matches."""

    def check(answer: Answer) -> str:
        if not answer.failed:
            return f"expected an error, found {answer.body!r}"
        body = json.loads(answer.body)
        if body.get("errorType") != error_type or not re.search(message, body["errorMessage"]):
            return f"expected {error_type or 'an error without a type'} and {message!r}, found {body}"
        return ""

    return check


def shows_whole_context(answer: Answer) -> str:
    members = (
        "request_id", "credentials.access_key_id", "credentials.access_key_secret", "credentials.security_token",
        "function.name", "function.handler", "function.memory", "function.timeout", "function.initializer",
        "function.initialization_timeout", "service.name", "service.log_project", "service.log_store",
        "service.qualifier", "service.version_id", "region", "account_id",
    )  # fmt: skip
    missing = [name for name in members if f"context.{name} = " not in answer.log]
    if missing:
        return f"not printed: {', '.join(missing)}"
    if answer.body.decode() != answer.request_id:
        return f"context.request_id is {answer.body!r}, the answer's header says {answer.request_id}"
    return ""


FUNCTIONS = (
    DemoFunction(name="hello", title="Hello world"),
    DemoFunction(name="json_event", title="A JSON event"),
    DemoFunction(name="whole_context", title="The whole context"),
    DemoFunction(name="initializer", title="An initializer", initializer="main.my_initializer"),
    DemoFunction(name="timeout", title="A time limit of one second", timeout_s=1),
)

CALLS: dict[str, tuple[DemoCall, ...]] = {
    "hello": (
        DemoCall(event=b"", temperature="cold", check=answers("hello world")),
        DemoCall(event=b"", temperature="warm", check=answers("hello world")),
    ),
    "json_event": (
        DemoCall(event=b'{"key": "value"}', temperature="cold", check=answers("value")),
        DemoCall(event=b'{"key": "value"}', temperature="warm", check=answers("value")),
        DemoCall(event=b'{"other": "value"}', temperature="warm", check=fails("KeyError", "key")),
    ),
    "whole_context": (
        DemoCall(event=b"", temperature="cold", check=shows_whole_context, shows_log=True),
    ),
    "initializer": (
        DemoCall(event=b"", temperature="cold", check=answers("prepared once for init.+, called 1 times since")),
        DemoCall(event=b"", temperature="warm", check=answers("prepared once for init.+, called 2 times since")),
    ),
    "timeout": (
        DemoCall(event=b"slow", temperature="cold", check=fails(None, "Function timed out after 1 seconds")),
        DemoCall(event=b"quick", temperature="cold", check=answers("in time")),
        DemoCall(event=b"quick", temperature="warm", check=answers("in time")),
    ),
}  # fmt: skip
