"""Times in UTC as the cloud's APIs and events write them: `2020-10-10T10:10:10Z`, without fractions."""

from datetime import UTC, datetime

FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def text_of(unix_s: float) -> str:
    """Truncates fractions of a second."""
    return datetime.fromtimestamp(int(unix_s), UTC).strftime(FORMAT)
