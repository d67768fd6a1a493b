"""Refuses requests to API versions that are not served, in the error format that their clients understand.

Called by `fc.app` and `fc.exec.endpoint` for paths of neither a served version nor a custom domain, and for errors on
2016-08-15 paths for clients that sign like later versions (reference/api.md §0 rule 6, §1.2, §1.3).
"""

import re

import msgspec

from sesame.fc.auth.request_head import head_of
from sesame.fc.headers import ACS_REQUEST_ID, JSON_TYPE, REQUEST_ID
from sesame.http.interface import Answer
from sesame.http.request import Request
from sesame.identity.acs_signature import FAMILY

STATUS = 400
CODE = "PathNotSupported"
_VERSION_PATH = re.compile(rb"/(\d{4}-\d{2}-\d{2})(?:/|\Z)")
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
# The additional names of code and message, besides Code, Message and RequestId (reference/api.md §1.3).
_NAMES_OF_2016, _NAMES_OF_2021 = ("ErrorCode", "ErrorMessage"), ("errorCode", "errorMessage")


class Asked(msgspec.Struct, frozen=True):
    """The requested version, "" if the client signs for a later version without naming it, and the operation, "" if it
    is not named.
    """

    version: str
    operation: str


def asked_of(request: Request, served: tuple[str, ...]) -> Asked | None:
    """Determined by the path, else by the headers; None if no version is named, or a served one."""
    headers = dict(request.headers)
    operation = headers.get(b"x-acs-action", b"")[:64].decode("latin-1")
    found = _VERSION_PATH.match(request.raw_path)
    version = (found[1] if found else headers.get(b"x-acs-version", b"")).decode("latin-1")
    if version in served or (found is None and not has_later_form(request) and not version):
        return None
    return Asked(version if _VERSION.match(version) else "", operation)


def has_later_form(request: Request) -> bool:
    """Whether the client signs like clients of later API versions, and thus only understands their errors."""
    return (head_of(request).authorization or b"").startswith(FAMILY)


def refusal(
    request: Request, date: tuple[bytes, bytes], request_id: str, asked: Asked, served: tuple[str, ...]
) -> Answer:
    """Lists the served versions. Sent without checking the signature."""
    unsupported = f"'{request.method}' against '{request.raw_path.decode('latin-1')[:256]}' is not supported"
    operation = f" ({asked.operation})" if asked.operation else ""
    version = f"API version {asked.version}" if asked.version else "another API version"
    message = (
        f"{unsupported}: the request is for {version}{operation}, and this server serves {', '.join(served)}; use a "
        f"client of such a version, as aliyun-fc2 for Python is, or paths that begin with /{served[0]}/"
    )
    return in_all_forms(date, request_id, (STATUS, CODE, message))


def in_all_forms(date: tuple[bytes, bytes], request_id: str, answer: tuple[int, str, str]) -> Answer:
    """An error whose status, code and message are given under the names of every version."""
    status, code, message = answer
    document = {"Code": code, "Message": message, "RequestId": request_id}
    for names in (_NAMES_OF_2016, _NAMES_OF_2021):
        document |= dict(zip(names, (code, message), strict=True))
    return _answer(date, request_id, status, document)


def _answer(date: tuple[bytes, bytes], request_id: str, status: int, document: dict[str, str]) -> Answer:
    headers = ((REQUEST_ID, request_id.encode()), (ACS_REQUEST_ID, request_id.encode()), date, JSON_TYPE)
    return Answer(status, headers, msgspec.json.encode(document))
