"""Until when something may be done, and from when on something is certain to have ended: pure rules of a cluster.

Times are seconds of the caller's own monotonic clock; no two machines compare theirs. What one side may do ends before
the other side takes it for ended, as long as their clocks run equally fast to within a tenth.
"""

from collections import deque
from collections.abc import Iterable

# A link is asked so often, and a leader renews its row so often.
BEAT_S = 1.0
# POLICY: a follower serves so long after it has sent the last beat that was answered; then its instances end.
LIFE_S = 10.0
# POLICY: the writer takes a follower's instances for ended so long after it has answered its last beat.
HOLD_S = 11.0
# A process that has not ended by itself is killed by its supervisor so long after its time, before others rely on it.
GRACE_S = 0.5
# POLICY: a link whose beats are not answered for so long is given up, and the writer looked for again.
SILENT_S = 4.0
# A candidate may take a row that was not renewed for so long, by the candidate's own clock …
EXPIRED_S = 5.0
# … and by its own clock a leader ends so long after it has sent the last renewal that the database has made.
LEADS_S = 4.0


class Life:
    """A follower's right to use what it was granted. Over before the first beat is answered."""

    def __init__(self) -> None:
        self.until = float("-inf")
        self._sent: deque[float] = deque()

    def another_link(self) -> None:
        """No answer comes any more to what was sent before."""
        self._sent.clear()

    def sent(self, now: float) -> None:
        """A beat leaves for the writer, which answers in order."""
        self._sent.append(now)

    def answered(self) -> None:
        """The oldest beat that has no answer is answered. It counts from when it was sent, not from now."""
        if self._sent:
            self.until = max(self.until, self._sent.popleft() + LIFE_S)

    def lasts(self, now: float) -> bool:
        return now < self.until

    def is_silent(self, now: float) -> bool:
        """Whether the link's other end has not answered for too long."""
        return bool(self._sent) and now - self._sent[0] >= SILENT_S


class Lead:
    """A writer's right to write, grant and answer beats."""

    def __init__(self, taken_at: float) -> None:
        """`taken_at`: before the statement was sent by which it was taken."""
        self.until = taken_at + LEADS_S

    def renewed(self, sent_at: float) -> None:
        """The database has made a renewal that was sent then."""
        self.until = max(self.until, sent_at + LEADS_S)

    def lasts(self, now: float) -> bool:
        return now < self.until


class Unrenewed:
    """For how long a candidate has seen the leader's row without a change.

    By the candidate's clock, as that of the database may be set, or be another machine's from one moment to the next.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, float] | None = None
        self._since = 0.0

    def for_s(self, epoch: int, renewed_at: float, now: float) -> float:
        """`now`: after the database has said what the row is."""
        if self._seen != (epoch, renewed_at):
            self._seen, self._since = (epoch, renewed_at), now
        return now - self._since


class Holds:
    """Whose instances a writer takes for running, beside those that it has the word of."""

    def __init__(self, holders: Iterable[str], now: float) -> None:
        """`holders` of the writers before: each may have been answered until this writer began, and not later."""
        self._until = dict.fromkeys(holders, now + HOLD_S)

    def silent(self, holder: str, heard_at: float) -> None:
        """Its link has ended; it was answered last then."""
        self._until[holder] = heard_at + HOLD_S

    def told(self, holder: str) -> None:
        """It has said what it holds, or nothing is left of it: nothing need be waited for."""
        self._until.pop(holder, None)

    def over(self, now: float) -> list[str]:
        """Those of whose instances nothing is left any more. They are forgotten here."""
        ended = [holder for holder, until in self._until.items() if until <= now]
        for holder in ended:
            del self._until[holder]
        return ended

    @property
    def awaited(self) -> frozenset[str]:
        return frozenset(self._until)
