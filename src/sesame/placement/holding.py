"""What one agent may use of one function: the holder's side of `placement.credits`.

Called by the agent that runs the instances. Permits nothing after its credit has ended, by the agent's own monotonic
clock, and accepts no answer to a request that was made under an older membership.
"""

from collections.abc import Mapping

from sesame.placement.credits import LIFE_S, Ask, Credit, Line


class Holding:
    """`agent` is the name of this process, never used by another; `epoch` is the membership revision that it knows."""

    def __init__(self, agent: str, epoch: int) -> None:
        self._agent = agent
        self._epoch = epoch
        self._number = 0
        self._asked_at = 0.0
        self._usable: dict[Line, int] = {}
        self._until = 0.0

    def usable(self, line: Line, now: float) -> int:
        """How many instances the agent may have. Must be checked before each start and each call on an instance."""
        return self._usable.get(line, 0) if now < self._until else 0

    @property
    def until(self) -> float:
        """When all instances must have ended, unless an answer arrives before."""
        return self._until

    def ask(self, wanted: Mapping[Line, int], now: float) -> Ask:
        """Creates the request for a total of `wanted`. Anything beyond that may not be used from now on."""
        self._number += 1
        self._asked_at = now
        alive = self._usable if now < self._until else {}
        self._usable = {line: min(count, wanted[line]) for line, count in alive.items() if wanted.get(line)}
        return Ask(self._agent, self._epoch, self._number, wanted, dict(self._usable))

    def take(self, credit: Credit) -> bool:
        """Applies an answer to the latest request and returns True; ignores any other and returns False.

        An answer that arrives too late has already ended.
        """
        if credit.number != self._number:
            return False
        self._usable, self._until = dict(credit.counts), self._asked_at + LIFE_S
        return True

    def learn(self, epoch: int) -> None:
        """The membership has changed, and possibly the home: answers to earlier requests are no longer accepted.

        The agent must ask the function's home again, whichever it is now, and thereby reports what it holds.
        """
        if epoch > self._epoch:
            self._epoch = epoch
            # No request was sent with this number, so no answer can match it.
            self._number += 1
