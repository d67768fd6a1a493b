"""Sesame's own log, as `sesame start` writes it: lines on stderr.

Never shows the values of variables in a traceback: they may be secrets.
"""

import errno
import logging
import sys

import structlog
from structlog.typing import EventDict

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def configure() -> None:
    """Sets up logging for the whole process; warnings of libraries go the same way."""
    colors = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _shorten_full_disks,
            structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s [%(levelname)s] %(message)s")


def _shorten_full_disks(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A full disk is no defect of the code: log one line with the next step instead of a traceback for each request."""
    error = event.get("exc_info")
    if error is True:
        error = sys.exc_info()[1]
    while isinstance(error, BaseException):
        if _is_full_disk(error):
            del event["exc_info"]
            event["error"] = f"{error}: free some space on the disk of the data directory"
            break
        error = error.__cause__ or error.__context__
    return event


def _is_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    # An error of the database; its module is not imported for that.
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
