"""Sesame's own log for `sesame start`: lines on stderr.

Never prints the values of variables in a traceback, which may be secrets.
"""

import logging
import sys

import structlog
from structlog.typing import EventDict

from sesame.model.full_disk import NEXT_STEP, full_disk_in


def configure() -> None:
    """Configures logging for the whole process, including warnings from libraries."""
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
    """Logs one line with the next step instead of a traceback for each request: a full disk is not a bug."""
    error = event.get("exc_info")
    if error is True:
        error = sys.exc_info()[1]
    full = full_disk_in(error)
    if full is not None:
        del event["exc_info"]
        event["error"] = f"{full}: {NEXT_STEP}"
    return event
