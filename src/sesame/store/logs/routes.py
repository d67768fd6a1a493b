"""Where lines of a function go besides `logs.db`: to the logstore of its service, or the reason why not.

A `Route` travels with each batch to the log writer process.
"""

from collections.abc import Callable
from typing import NamedTuple

from sesame.store.logs.file import SourceKey


class Route(NamedTuple):
    """A logstore by its number in the file, and whether lines without a date join a log."""

    logstore: int
    multi_line: bool


# What decides; the text says why nothing is written there.
Routing = Callable[[SourceKey], Route | str]
