"""What one agent may use of one function: the holder's side of `placement.credits`.

Called by the agent that runs the instances. Uses nothing after the end of its credit, by its own monotonic clock, and
nothing that a home granted which is not home any more.
"""

from collections.abc import Mapping

from sesame.placement.credits import LIFE_S, Ask, Credit, Line


class Holding:
    """`agent` is the name of this process, which no other process ever has; `epoch` the membership that it knows."""

    def __init__(self, agent: str, epoch: int) -> None:
        self._agent = agent
        self._epoch = epoch
        self._number = 0
        self._asked_at = 0.0
        self._usable: dict[Line, int] = {}
        self._until = 0.0

    def usable(self, line: Line, now: float) -> int:
        """How many instances the agent may have. Asked before each start, and before each call on an instance."""
        return self._usable.get(line, 0) if now < self._until else 0

    @property
    def until(self) -> float:
        """When the instances have to be gone, unless an answer comes before."""
        return self._until

    def ask(self, wanted: Mapping[Line, int], now: float) -> Ask:
        """The ask for `wanted` in all. What is more than that may not be used from here on."""
        self._number += 1
        self._asked_at = now
        alive = self._usable if now < self._until else {}
        self._usable = {line: min(count, wanted[line]) for line, count in alive.items() if wanted.get(line)}
        return Ask(self._agent, self._epoch, self._number, wanted, dict(self._usable))

    def take(self, credit: Credit) -> bool:
        """Whether it answers the latest ask. Any other one changes nothing; one that comes late has ended already."""
        if credit.number != self._number:
            return False
        self._usable, self._until = dict(credit.counts), self._asked_at + LIFE_S
        return True

    def learn(self, epoch: int) -> None:
        """The membership has changed, and with it the home, perhaps: an answer to what was asked before is not taken.

        The agent asks the home of the function anew, whichever it is, and so tells it what it holds.
        """
        if epoch > self._epoch:
            self._epoch = epoch
            # No answer has this number.
            self._number += 1
