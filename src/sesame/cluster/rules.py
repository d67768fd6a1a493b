"""The timing rules of a cluster: until when a right lasts, and when another side may assume that it has ended.

Pure. Times are in seconds of the caller's own monotonic clock; machines never compare clocks. A right ends at its
holder before the other side assumes so, provided that the rates of their clocks differ by less than a tenth.
"""

from collections import deque
from collections.abc import Iterable

# How often a follower sends a beat over its link, and how often a leader renews its row.
BEAT_S = 1.0
# POLICY: how long a follower may serve after sending the last beat that was answered; then its instances end.
LIFE_S = 10.0
# POLICY: how long after answering a follower's last beat the writer assumes that its instances have ended.
HOLD_S = 11.0
# A process that outlives its right is killed by its supervisor this much later, before others rely on its end.
GRACE_S = 0.5
# POLICY: a link whose beats have not been answered for this long is closed; the follower then looks for a writer again.
SILENT_S = 4.0
# A candidate may take over a row that it has seen unrenewed for this long, by its own clock …
EXPIRED_S = 5.0
# … and a leader ends, by its own clock, this long after sending its last successful renewal.
LEADS_S = 4.0


class Life:
    """A follower's right to use its instances and credits. It begins when the first beat is answered."""

    def __init__(self) -> None:
        self.until = float("-inf")
        self._sent: deque[float] = deque()

    def another_link(self) -> None:
        """There is a new link: earlier beats will not be answered."""
        self._sent.clear()

    def sent(self, now: float) -> None:
        """A beat was sent to the writer, which answers beats in order."""
        self._sent.append(now)

    def answered(self) -> None:
        """The oldest unanswered beat was answered. The right lasts LIFE_S from when it was sent, not from now."""
        if self._sent:
            self.until = max(self.until, self._sent.popleft() + LIFE_S)

    def lasts(self, now: float) -> bool:
        return now < self.until

    def is_silent(self, now: float) -> bool:
        """Whether the oldest unanswered beat has waited for SILENT_S."""
        return bool(self._sent) and now - self._sent[0] >= SILENT_S


class Lead:
    """A leader's right to write to the database, grant credits and answer beats."""

    def __init__(self, taken_at: float) -> None:
        """`taken_at` is the time before the statement that took the leadership was sent."""
        self.until = taken_at + LEADS_S

    def renewed(self, sent_at: float) -> None:
        """The database has confirmed a renewal that was sent at `sent_at`."""
        self.until = max(self.until, sent_at + LEADS_S)

    def lasts(self, now: float) -> bool:
        return now < self.until


class Unrenewed:
    """Measures for how long a candidate has seen the leader's row unchanged.

    By the candidate's own clock: the database's may be adjusted, or change when another server takes over.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, float] | None = None
        self._since = 0.0

    def for_s(self, epoch: int, renewed_at: float, now: float) -> float:
        """Seconds since the row was first seen like this. `now` is the time after the database returned it."""
        if self._seen != (epoch, renewed_at):
            self._seen, self._since = (epoch, renewed_at), now
        return now - self._since


class Holds:
    """The holders whose instances a writer must assume to be running although it does not know which they are."""

    def __init__(self, holders: Iterable[str], now: float) -> None:
        """`holders` are those of previous writers, which may have answered their beats until this writer began."""
        self._until = dict.fromkeys(holders, now + HOLD_S)

    def silent(self, holder: str, heard_at: float) -> None:
        """The holder's link has ended, or it does not answer; its last beat was answered at `heard_at`."""
        self._until[holder] = heard_at + HOLD_S

    def told(self, holder: str) -> None:
        """The holder has listed its instances, or none are left: there is nothing to wait for."""
        self._until.pop(holder, None)

    def over(self, now: float) -> list[str]:
        """Removes and returns the holders of whose instances none can be left."""
        ended = [holder for holder, until in self._until.items() if until <= now]
        for holder in ended:
            del self._until[holder]
        return ended

    @property
    def awaited(self) -> frozenset[str]:
        return frozenset(self._until)
