"""Which agents are replaced when: what `agents.supervisor` decides after it was started anew, without any process."""

import enum
from collections.abc import Iterable

# POLICY: where the process in an agent's place has failed to start so often, the others stay as they are.
FAILURES_MAX = 3


class Next(enum.Enum):
    WAIT = enum.auto()
    STOP = enum.auto()
    GIVE_UP = enum.auto()


class Replacing:
    """Of agents that the supervisor's program before has started.

    One at a time, while all others serve: followers first, then the writer, whose start is the end of it. All
    `together` where old and new ones could not be of one Sesame (`succession.spoken`).
    """

    def __init__(self, numbers: Iterable[int], *, together: bool) -> None:
        writer, *followers = sorted(numbers)
        self._left = [*followers, writer]
        self._under_way: set[int] = set()
        self.together = together

    @property
    def done(self) -> bool:
        return not self._left and not self._under_way

    def step(self, *, all_ready: bool, failures: int) -> tuple[Next, list[int]]:
        """What is to be done. `failures` is how often an agent has failed to start again, of all the most."""
        if self._left and failures >= FAILURES_MAX:
            self._left.clear()
            self._under_way.clear()
            return Next.GIVE_UP, []
        stopped = self._left if self.together else self._left[:1] if all_ready and not self._under_way else []
        self._left = self._left[len(stopped) :]
        self._under_way.update(stopped)
        return (Next.STOP, stopped) if stopped else (Next.WAIT, [])

    def ended(self, number: int, *, comes_again: bool = True) -> None:
        """The old process has ended, also by itself. Where none `comes_again` in its place, that was all."""
        if number in self._left:
            self._left.remove(number)
            self._under_way.add(number)
        if not comes_again:
            self._under_way.discard(number)

    def replaced(self, number: int) -> None:
        """Its next process is ready."""
        self._under_way.discard(number)
