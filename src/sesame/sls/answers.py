"""Answers of operations, and errors in the Log Service's JSON form.

Built by the operations, sent by `sls.app`.
"""

from typing import Any

import msgspec

from sesame.sls.errors import SlsError

JSON_TYPE = "application/json"
# HTTP clients refuse longer lines; the header only repeats what the body has.
HEADER_CHARS_MAX = 8192


class Answer(msgspec.Struct, frozen=True):
    """`headers` are keyed by their names on the wire. Content-Length and `x-log-requestid` are added on sending."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""


EMPTY = Answer()


def json_answer(document: Any, headers: dict[str, str] | None = None) -> Answer:
    return Answer(headers={"Content-Type": JSON_TYPE, **(headers or {})}, body=msgspec.json.encode(document))


def error_answer(error: SlsError) -> Answer:
    body = msgspec.json.encode({"errorCode": error.code, "errorMessage": str(error)})
    return Answer(error.status, {"Content-Type": JSON_TYPE}, body)
