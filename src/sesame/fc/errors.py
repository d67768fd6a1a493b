"""Turns what went wrong into the API's error answers, and sends whole answers.

Called by `fc.app` and `fc.invoke` for everything that does not leave through a route's own response.
Never shows a platform error's text: that goes to the log, with the request id.
"""

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.types import Send

from sesame.fc.headers import CONTENT_LENGTH, JSON_TYPE, REQUEST_ID, Headers
from sesame.model.errors import CallerError, PathNotSupported

log = structlog.get_logger("sesame.fc")

INTERNAL_CODE = "InternalServerError"
INTERNAL_TEXT = "an internal error has occurred. Please retry."


class Failure(msgspec.Struct, frozen=True, rename="pascal"):
    """The body of every error answer (reference/api.md §1.3)."""

    error_code: str
    error_message: str


def failure_of(error: Exception, request_id: str, method: str, path: str) -> tuple[int, Failure]:
    """Status and body for whatever a request ran into; logs what is ours."""
    if isinstance(error, CallerError):
        return error.status, Failure(error.code, str(error))
    if isinstance(error, HTTPException) and error.status_code in (404, 405):
        wrong = PathNotSupported(method, path)
        return wrong.status, Failure(wrong.code, str(wrong))
    log.error("request failed", request_id=request_id, method=method, path=path, exc_info=error)
    return 500, Failure(INTERNAL_CODE, INTERNAL_TEXT)


async def send_failure(send: Send, date: tuple[bytes, bytes], request_id: str, answer: tuple[int, Failure]) -> None:
    """One error answer, whole."""
    body = msgspec.json.encode(answer[1])
    headers: Headers = [
        (REQUEST_ID, request_id.encode()),
        date,
        JSON_TYPE,
        (CONTENT_LENGTH, str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": answer[0], "headers": headers})
    await send({"type": "http.response.body", "body": body})
