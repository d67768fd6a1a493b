"""How long output waits between being taken in and being in the file of logs.

Used by `store.logs.intake`, which reports each step; batches are settled in the order in which they were sent.
"""

from collections import deque

from sesame.model.clocks import Clocks


class Lag:
    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        # When the oldest output of the next batch, and of each sent but unsettled batch, was taken in.
        self._next: float | None = None
        self._sent: deque[float] = deque()

    @property
    def seconds(self) -> float:
        """Seconds since the oldest output that is not in the file yet was taken in; 0.0 if there is none."""
        since = self._sent[0] if self._sent else self._next
        return 0.0 if since is None else max(self._clocks.monotonic() - since, 0.0)

    def taken(self) -> None:
        """Call when output was taken in for the next batch."""
        if self._next is None:
            self._next = self._clocks.monotonic()

    def sent(self) -> None:
        self._sent.append(self._clocks.monotonic() if self._next is None else self._next)
        self._next = None

    def settled(self) -> None:
        """Call when the oldest batch is in the file, or was given up. Ignored for a batch not reported by `sent`."""
        if self._sent:
            self._sent.popleft()
