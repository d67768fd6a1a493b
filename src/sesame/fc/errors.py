"""Answers errors: chooses status and body.

Called by `fc.app` and `fc.exec` for whatever a request ran into. A platform error's text is never shown: it goes to the
log, with the request id.
"""

from collections.abc import Callable

import msgspec
import structlog
from starlette.exceptions import HTTPException

from sesame.fc.headers import JSON_TYPE, REQUEST_ID, DateHeader
from sesame.fc.refusals import ApiError, Failure, PathNotSupported
from sesame.http.interface import Answer
from sesame.model.errors import CallerError

log = structlog.get_logger("sesame.fc")

INTERNAL_CODE = "InternalServerError"
INTERNAL_TEXT = "an internal error has occurred. Please retry."


Wording = Callable[[CallerError], ApiError]
"""How one API version words a refusal."""

# The most characters that a message has. Longer ones repeat what the caller sent: they lose their middle.
MESSAGE_CHARS_MAX = 2048


class ErrorAnswers:
    """The answers to errors in the words of one API version."""

    def __init__(self, worded: Wording, date: DateHeader) -> None:
        self._worded = worded
        self.date = date

    def of(self, error: Exception, request_id: str, asked: tuple[str, str]) -> tuple[int, Failure]:
        """Status and body for whatever a request ran into; logs platform errors. `asked` is its method and path."""
        if isinstance(error, HTTPException) and error.status_code in (404, 405):
            error = PathNotSupported(*asked)
        if isinstance(error, CallerError):
            refusal = self._worded(error)
            return refusal.status, Failure(refusal.code, _shortened(str(refusal)))
        log.error("request failed", request_id=request_id, method=asked[0], path=asked[1], exc_info=error)
        return 500, Failure(INTERNAL_CODE, INTERNAL_TEXT)

    def answer(self, request_id: str, answer: tuple[int, Failure]) -> Answer:
        """One error answer, whole."""
        headers = ((REQUEST_ID, request_id.encode()), self.date(), JSON_TYPE)
        return Answer(answer[0], headers, msgspec.json.encode(answer[1]))


def _shortened(message: str) -> str:
    left_out = len(message) - MESSAGE_CHARS_MAX
    if left_out <= 0:
        return message
    half = MESSAGE_CHARS_MAX // 2
    return f"{message[:half]}… ({left_out} characters left out) …{message[-half:]}"
