"""The error format of API 2021-04-06: under the names that its clients read, and those of its documentation.

Used by `fc.v2021.version`. The wording is that of all versions with services (reference/api.md §0 rule 6, §1.3).
"""

import msgspec

from sesame.fc.errors import ErrorForm
from sesame.fc.refusals import Failure
from sesame.fc.wording import worded


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error answer: code and message twice, because clients disagree on their names."""

    code: str = msgspec.field(name="Code")
    message: str = msgspec.field(name="Message")
    request_id: str = msgspec.field(name="RequestId")
    error_code: str = msgspec.field(name="errorCode")
    error_message: str = msgspec.field(name="errorMessage")


def _document(failure: Failure, request_id: str) -> Error:
    return Error(
        code=failure.error_code,
        message=failure.error_message,
        request_id=request_id,
        error_code=failure.error_code,
        error_message=failure.error_message,
    )


ERRORS = ErrorForm(worded=worded, shape=Error, document=_document, acs=True)
