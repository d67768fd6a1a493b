"""Parses dates in HTTP headers.

Called by the endpoints, for signed dates and for conditional requests.
"""

from datetime import UTC
from email.utils import parsedate_to_datetime


def unix_time(text: str) -> float:
    """Unix seconds; a date without a zone is in UTC. Raises ValueError or OverflowError if it is not a date."""
    moment = parsedate_to_datetime(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
