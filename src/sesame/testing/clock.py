"""The clock of a test's Sesame: it runs with the machine's, and a test moves it ahead.

Handed out by `testing.cloud.Cloud.clock`.
"""

from datetime import UTC, datetime

from sesame.testing.errors import CloudError
from sesame.testing.process import ServerProcess


class Clock:
    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    def now(self) -> datetime:
        """What Sesame takes for the time (UTC)."""
        return datetime.fromtimestamp(self._process.ask("now"), UTC)

    def advance(self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0) -> datetime:
        """Lets so much time pass: each timer trigger, retry and delivery that falls due is done before the next.

        Returns the new time once everything has been done. Raises `CloudError` for what takes over a minute by itself.
        """
        total = seconds + 60 * minutes + 3600 * hours + 86400 * days
        return datetime.fromtimestamp(self._process.ask("advance", seconds=total), UTC)

    def advance_to(self, when: datetime) -> datetime:
        """As `advance`, until this time. Raises `CloudError` for the past, and for a time without a time zone."""
        if when.tzinfo is None:
            raise CloudError(f"{when!r} has no time zone: expected one, such as datetime(2030, 1, 1, tzinfo=UTC)")
        seconds = (when - self.now()).total_seconds()
        if seconds < 0:
            raise CloudError(f"{when.isoformat()} is past: it is {self.now().isoformat()}, and time only goes forward")
        return self.advance(seconds)
