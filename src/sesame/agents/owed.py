"""What a follower owes its writer: that its catalog shows the changes that it was sent.

Used by `agents.followed`. On several machines whoever does not show a change is not told that its writer is there: so
its right to answer calls ends in its time, and nothing waits for it any longer.
"""

import asyncio
from collections import deque


class Owed:
    def __init__(self) -> None:
        # The newest change that was sent, and that is shown.
        self._sent = self._seen = 0
        self._waiting_for: list[tuple[int, asyncio.Future[None]]] = []
        # For each question whether the writer is there: the change that must be shown before it is answered.
        self._questions: deque[int] = deque()
        # For each time that it was asked whether it is there: what it was sent before that.
        self._looks: deque[int] = deque()
        # Whether it has answered, and does not show what it was sent before it was asked: it never will.
        self.fails = False

    def another_link(self) -> None:
        """What was asked is not answered, and everything is sent again."""
        self._questions.clear()
        self._looks.clear()
        self._sent = self._seen = 0
        self.fails = False

    def sent(self, revision: int) -> None:
        self._sent = revision

    def seen(self, revision: int) -> None:
        self._seen = max(self._seen, revision)
        for wanted, shown in self._waiting_for:
            if wanted <= self._seen and not shown.done():
                shown.set_result(None)
        self._waiting_for = [each for each in self._waiting_for if not each[1].done()]

    def asked(self) -> None:
        """Whether the writer is there."""
        self._questions.append(self._sent)

    def to_answer(self) -> int:
        """How many questions may be answered now. They are forgotten here."""
        count = 0
        while self._questions and self._questions[0] <= self._seen:
            self._questions.popleft()
            count += 1
        return count

    async def shown(self, revision: int) -> None:
        """Returns when that is shown, or when it shows `nothing`."""
        if self._seen < revision:
            shown = asyncio.get_running_loop().create_future()
            self._waiting_for.append((revision, shown))
            await shown

    def nothing(self) -> None:
        """It answers no call any more."""
        for _wanted, shown in self._waiting_for:
            if not shown.done():
                shown.set_result(None)
        self._waiting_for.clear()

    def looked(self) -> None:
        """It is asked whether it is there."""
        self._looks.append(self._sent)

    def here(self) -> None:
        """It has answered, as always after all that it did with what was sent before."""
        if self._looks and self._seen < self._looks.popleft():
            self.fails = True
