"""The clock of a test's Sesame: follows the machine's clock, and tests can advance it.

Created by `testing.cloud.Cloud.clock`.
"""

from datetime import UTC, datetime

from sesame.testing.errors import CloudError
from sesame.testing.process import ServerProcess


class Clock:
    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    def now(self) -> datetime:
        """Sesame's current time (UTC)."""
        return datetime.fromtimestamp(self._process.ask("now"), UTC)

    def advance(self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0) -> datetime:
        """Advances the clock, and finishes each timer trigger, retry and delivery that falls due before the next one.

        Returns the new time once all of them are done. Raises `CloudError` if one takes over a minute of real time.
        """
        total = seconds + 60 * minutes + 3600 * hours + 86400 * days
        return datetime.fromtimestamp(self._process.ask("advance", seconds=total), UTC)

    def advance_to(self, when: datetime) -> datetime:
        """Like `advance`, to this time. Raises `CloudError` if it is past or has no time zone."""
        if when.tzinfo is None:
            raise CloudError(f"{when!r} has no time zone: expected one, such as datetime(2030, 1, 1, tzinfo=UTC)")
        seconds = (when - self.now()).total_seconds()
        if seconds < 0:
            raise CloudError(f"{when.isoformat()} is past: it is {self.now().isoformat()}, and time only goes forward")
        return self.advance(seconds)
