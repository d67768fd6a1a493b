"""Sesame's own log, as `sesame start` writes it: lines on stderr.

Never shows the values of variables in a traceback: they may be secrets.
"""

import logging
import sys

import structlog


def configure() -> None:
    """For the whole process; uvicorn's and other libraries' warnings go the same way."""
    colors = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s [%(levelname)s] %(message)s")
