"""Answers errors: chooses status and body.

Called by `fc.app` and `fc.exec` for any exception raised by a request. The text of a platform error is never sent: it
is logged with the request id.
"""

from collections.abc import Callable

import msgspec
import structlog
from starlette.exceptions import HTTPException

from sesame.fc.headers import ACS_REQUEST_ID, JSON_TYPE, REQUEST_ID, DateHeader
from sesame.fc.refusals import ApiError, Failure, PathNotSupported
from sesame.http.interface import Answer
from sesame.model.errors import CallerError, StoreUnavailable, Unavailable
from sesame.model.full_disk import NEXT_STEP, full_disk_in

log = structlog.get_logger("sesame.fc")

INTERNAL_CODE = "InternalServerError"
INTERNAL_TEXT = "an internal error has occurred. Please retry."
UNAVAILABLE, UNAVAILABLE_CODE = 503, "ServiceUnavailable"
# Sent with every 503, in whole seconds. A process that was killed serves again within 2 s (SPECIFICATION.md).
RETRY_AFTER = (b"Retry-After", b"2")
UNAVAILABLE_TEXT = "this server cannot serve the request at this moment. Please retry."
STORE_UNAVAILABLE_TEXT = "the store of this server does not answer. Please retry."
FULL_TEXT = f"the disk of this server is full: {NEXT_STEP}, and retry."


Wording = Callable[[CallerError], ApiError]
"""How one API version words a refusal."""


class ErrorForm(msgspec.Struct, frozen=True, kw_only=True):
    """How one API version words refusals, and formats the bodies of its error answers.

    `shape` is the struct of the body, which `document` builds from a failure and the request's id. With `acs`, the id
    is also sent in the header read by clients of later versions.
    """

    worded: Wording
    shape: type[msgspec.Struct] = Failure
    document: Callable[[Failure, str], msgspec.Struct] = lambda failure, _request_id: failure
    acs: bool = False


# The maximum length of a message. Longer ones repeat what the caller sent, and are shortened in the middle.
MESSAGE_CHARS_MAX = 2048


class ErrorAnswers:
    """The error answers of one API version."""

    def __init__(self, form: ErrorForm, date: DateHeader) -> None:
        self._form = form
        self.date = date

    def of(self, error: Exception, request_id: str, asked: tuple[str, str]) -> tuple[int, Failure]:
        """Maps any exception to a status and a failure, and logs platform errors. `asked` is (method, path)."""
        if isinstance(error, HTTPException) and error.status_code in (404, 405):
            error = PathNotSupported(*asked)
        if isinstance(error, CallerError):
            refusal = self._form.worded(error)
            return refusal.status, Failure(refusal.code, _shortened(str(refusal)))
        if isinstance(error, StoreUnavailable):
            log.error("code or an object is not reachable", request_id=request_id, path=asked[1], error=str(error))
            return UNAVAILABLE, Failure(UNAVAILABLE_CODE, STORE_UNAVAILABLE_TEXT)
        if isinstance(error, Unavailable):
            log.error("request refused temporarily", request_id=request_id, path=asked[1], error=str(error))
            return UNAVAILABLE, Failure(UNAVAILABLE_CODE, UNAVAILABLE_TEXT)
        log.error("request failed", request_id=request_id, method=asked[0], path=asked[1], exc_info=error)
        if full_disk_in(error) is not None:
            return UNAVAILABLE, Failure(UNAVAILABLE_CODE, FULL_TEXT)
        return 500, Failure(INTERNAL_CODE, INTERNAL_TEXT)

    def answer(self, request_id: str, answer: tuple[int, Failure]) -> Answer:
        """Builds the complete error answer."""
        sent_id = request_id.encode()
        acs = ((ACS_REQUEST_ID, sent_id),) if self._form.acs else ()
        later = (RETRY_AFTER,) if answer[0] == UNAVAILABLE else ()
        headers = ((REQUEST_ID, sent_id), *acs, self.date(), JSON_TYPE, *later)
        return Answer(answer[0], headers, msgspec.json.encode(self._form.document(answer[1], request_id)))


def _shortened(message: str) -> str:
    left_out = len(message) - MESSAGE_CHARS_MAX
    if left_out <= 0:
        return message
    half = MESSAGE_CHARS_MAX // 2
    return f"{message[:half]}… ({left_out} characters left out) …{message[-half:]}"
