"""Sesame's own log, as `sesame start` writes it: lines on stderr.

Never shows the values of variables in a traceback: they may be secrets.
"""

import errno
import logging
import sqlite3
import sys

import structlog
from structlog.typing import EventDict

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def configure() -> None:
    """For the whole process; uvicorn's and other libraries' warnings go the same way."""
    colors = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _say_full_disks_shortly,
            structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s [%(levelname)s] %(message)s")


def _say_full_disks_shortly(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A full disk is nobody's mistake in the code: one line with the next step, instead of a traceback a request."""
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
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in _NO_SPACE
