"""Reads the dates that HTTP headers hold.

Called by the endpoints, for the dates that are signed and for conditions on when something changed.
"""

from datetime import UTC
from email.utils import parsedate_to_datetime


def unix_time(text: str) -> float:
    """Unix seconds; a date without a zone is in UTC. Raises ValueError, OverflowError for what is no date."""
    moment = parsedate_to_datetime(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
