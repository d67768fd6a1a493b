"""The functions that the demo deploys, the calls that it makes, and the answers that the manual documents.

Only data and checks; used by `cli.demo.command`.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Literal

import msgspec

FOLDER = Path(__file__).parent / "functions"
BUCKET = "demo-uploads"
# The role of every account, and a role created by the demo that may read from OSS but not write to it.
DEFAULT_ROLE = "aliyunfcdefaultrole"
READER_ROLE = "demo-reader"
ROLES_TOML = f"""[roles.{READER_ROLE}]
policies = ["AliyunOSSReadOnlyAccess"]
"""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The SDK's result of one call: a body with headers, or (`failed`) an FcError, which has no headers.

    `duration_ms` and `log` come from the headers; the caller measures `round_trip_ms`.
    """

    body: bytes
    failed: bool
    request_id: str
    round_trip_ms: float
    duration_ms: str = ""
    log: str = ""


# Returns a description of what is wrong with the answer, or "".
Check = Callable[[Answer], str]


class DemoFunction(msgspec.Struct, frozen=True, kw_only=True):
    """One function from the manual's page. `folder` is deployed unchanged to a service with `role` ("" for none).

    `code` names the folder of another function with the same code. `needs_packages`: the function imports packages
    that the runtime ships.
    """

    name: str
    title: str
    role: str = ""
    code: str = ""
    needs_packages: bool = False
    timeout_s: int = 10
    initializer: str = ""
    handler: str = "main.my_handler"

    @property
    def folder(self) -> Path:
        return FOLDER / (self.code or self.name)


class DemoCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a function. The server's values replace the placeholders $oss, $bucket and $runtime in `event`.

    If `leaves` is "object", the bucket must hold the event's message under its object's name after the call; if it is
    "nothing", no such object must exist.
    """

    event: str
    temperature: str
    check: Check
    shows_log: bool = False
    leaves: Literal["", "object", "nothing"] = ""

    def event_at(self, places: Mapping[str, str]) -> bytes:
        return Template(self.event).substitute(places).encode()


def answers(pattern: str) -> Check:
    """Requires a successful answer that the regular expression matches completely."""

    def check(answer: Answer) -> str:
        found = answer.body.decode("utf-8", "replace")
        if answer.failed or not re.fullmatch(pattern, found):
            return f"expected {pattern!r}, found {'the error ' if answer.failed else ''}{found!r}"
        return ""

    return check


def fails(error_type: str | None, message: str) -> Check:
    """Requires an error body (reference/runtime.md §6) of this type (None for no type) with a matching message."""

    def check(answer: Answer) -> str:
        if not answer.failed:
            return f"expected an error, found {answer.body!r}"
        body = json.loads(answer.body)
        if body.get("errorType") != error_type or not re.search(message, body["errorMessage"]):
            return f"expected {error_type or 'an error without a type'} and {message!r}, found {body}"
        return ""

    return check


def refused_by_oss(code: str) -> Check:
    """Requires that the function raised oss2's exception for an OSS error with this code."""

    def check(answer: Answer) -> str:
        found = oss_code(answer)
        return "" if found == code else f"expected OSS to refuse it with {code}, found {found or answer.body!r}"

    return check


def oss_code(answer: Answer) -> str:
    """The OSS error code in the message of oss2's exception, or ""."""
    if not answer.failed:
        return ""
    found = re.search(r"'Code': u?'(\w+)'", json.loads(answer.body).get("errorMessage", ""))
    return found[1] if found else ""


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
    DemoFunction(name="upload", title="An upload with a role's keys", role=DEFAULT_ROLE, needs_packages=True),
    DemoFunction(
        name="upload_without_token", title="The same without the token", role=DEFAULT_ROLE, needs_packages=True
    ),
    DemoFunction(
        name="upload_by_reader",
        title="By a role that may not put",
        role=READER_ROLE,
        code="upload",
        needs_packages=True,
    ),
)


def _upload(name: str, check: Check, leaves: Literal["object", "nothing"]) -> DemoCall:
    """A call with the event for the manual's upload function: endpoint, bucket, object name and message."""
    event = {
        "endpoint": "$oss",
        "bucket": "$bucket",
        "objectName": f"{name}-$runtime.txt",
        "message": "Hello from $runtime",
    }
    return DemoCall(event=json.dumps(event), temperature="cold", check=check, leaves=leaves)


CALLS: dict[str, tuple[DemoCall, ...]] = {
    "hello": (
        DemoCall(event="", temperature="cold", check=answers("hello world")),
        DemoCall(event="", temperature="warm", check=answers("hello world")),
    ),
    "json_event": (
        DemoCall(event='{"key": "value"}', temperature="cold", check=answers("value")),
        DemoCall(event='{"key": "value"}', temperature="warm", check=answers("value")),
        DemoCall(event='{"other": "value"}', temperature="warm", check=fails("KeyError", "key")),
    ),
    "whole_context": (
        DemoCall(event="", temperature="cold", check=shows_whole_context, shows_log=True),
    ),
    "initializer": (
        DemoCall(event="", temperature="cold", check=answers("prepared once for init.+, called 1 times since")),
        DemoCall(event="", temperature="warm", check=answers("prepared once for init.+, called 2 times since")),
    ),
    "timeout": (
        DemoCall(event="slow", temperature="cold", check=fails(None, "Function timed out after 1 seconds")),
        DemoCall(event="quick", temperature="cold", check=answers("in time")),
        DemoCall(event="quick", temperature="warm", check=answers("in time")),
    ),
    "upload": (_upload("hello", answers("success"), "object"),),
    "upload_without_token": (_upload("no-token", refused_by_oss("InvalidAccessKeyId"), "nothing"),),
    "upload_by_reader": (_upload("reader", refused_by_oss("AccessDenied"), "nothing"),),
}  # fmt: skip
