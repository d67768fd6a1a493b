"""Decides in which order `agents.supervisor` replaces its agents after a restart of its program. Touches no process."""

import enum
from collections.abc import Iterable

# POLICY: if an agent's replacement fails to start this often, the remaining agents are not replaced.
FAILURES_MAX = 3


class Next(enum.Enum):
    WAIT = enum.auto()
    STOP = enum.auto()
    GIVE_UP = enum.auto()


class Replacing:
    """Replaces the agents that the previous program of the supervisor started.

    Agents are replaced one at a time while all others serve: followers first, the writer last. With `together` all are
    stopped at once, because old and new agents would not understand each other (`succession.spoken`).
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
        """Returns the next step and the numbers of the agents to stop.

        `failures` is how often in a row an agent has failed to start: the maximum of all agents.
        """
        if self._left and failures >= FAILURES_MAX:
            self._left.clear()
            self._under_way.clear()
            return Next.GIVE_UP, []
        stopped = self._left if self.together else self._left[:1] if all_ready and not self._under_way else []
        self._left = self._left[len(stopped) :]
        self._under_way.update(stopped)
        return (Next.STOP, stopped) if stopped else (Next.WAIT, [])

    def ended(self, number: int, *, comes_again: bool = True) -> None:
        """An agent's old process has ended, possibly by itself. Without `comes_again`, nothing replaces it."""
        if number in self._left:
            self._left.remove(number)
            self._under_way.add(number)
        if not comes_again:
            self._under_way.discard(number)

    def replaced(self, number: int) -> None:
        """The agent's new process is ready."""
        self._under_way.discard(number)
