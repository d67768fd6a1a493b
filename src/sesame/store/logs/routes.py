"""Where functions' lines go besides `logs.db`: to the logstore of their service, or the reason why not.

A `Route` is sent with each batch to the log writer process.
"""

from collections.abc import Callable
from typing import NamedTuple

from sesame.store.logs.file import SourceKey


class Route(NamedTuple):
    """A logstore by its number in the file, and whether lines without a date continue a log."""

    logstore: int
    multi_line: bool


# Decides for a source; a text is the reason why nothing is written to a logstore.
Routing = Callable[[SourceKey], Route | str]
