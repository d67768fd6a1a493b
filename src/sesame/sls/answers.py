"""What an operation answers, and errors as the Log Service writes them.

Built by the operations, sent by `sls.app`.
"""

from typing import Any

import msgspec

from sesame.sls.errors import SlsError

JSON_TYPE = "application/json"
# Clients of HTTP refuse longer lines, and what is in headers is a repetition.
HEADER_CHARS_MAX = 8192


class Answer(msgspec.Struct, frozen=True):
    """`headers` by their names on the wire. Content-Length and `x-log-requestid` are set when it is sent."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""


EMPTY = Answer()


def json_answer(document: Any, headers: dict[str, str] | None = None) -> Answer:
    return Answer(headers={"Content-Type": JSON_TYPE, **(headers or {})}, body=msgspec.json.encode(document))


def error_answer(error: SlsError) -> Answer:
    body = msgspec.json.encode({"errorCode": error.code, "errorMessage": str(error)})
    return Answer(error.status, {"Content-Type": JSON_TYPE}, body)
