"""Tracks which of the catalog changes sent to a follower its catalog shows, and who waits for that.

Used by `agents.followed`. In a cluster, a follower that does not show a change gets no answer to its question whether
its writer is there. Its right to serve calls then expires, after which nothing waits for it any longer.
"""

import asyncio
from collections import deque


class Owed:
    def __init__(self) -> None:
        # The newest revision that was sent, and the newest that the follower shows.
        self._sent = self._seen = 0
        self._waiting_for: list[tuple[int, asyncio.Future[None]]] = []
        # For each of the follower's unanswered questions: the revision that it must show before it gets the answer.
        self._questions: deque[int] = deque()
        # For each unanswered check of the follower: the newest revision sent before it.
        self._looks: deque[int] = deque()
        # Whether the follower answered a check without showing what was sent before it. It never will: messages are
        # handled in order.
        self.fails = False

    def another_link(self) -> None:
        """Starts over for a new link: old questions stay unanswered, and the whole catalog is sent again."""
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
        """The follower asks whether its writer is there."""
        self._questions.append(self._sent)

    def to_answer(self) -> int:
        """Removes the questions that may be answered now and returns their number."""
        count = 0
        while self._questions and self._questions[0] <= self._seen:
            self._questions.popleft()
            count += 1
        return count

    async def shown(self, revision: int) -> None:
        """Returns when the follower shows `revision`, or when `nothing` is called."""
        if self._seen < revision:
            shown = asyncio.get_running_loop().create_future()
            self._waiting_for.append((revision, shown))
            await shown

    def nothing(self) -> None:
        """The follower can no longer serve calls: nothing waits for it any longer."""
        for _wanted, shown in self._waiting_for:
            if not shown.done():
                shown.set_result(None)
        self._waiting_for.clear()

    def looked(self) -> None:
        """The follower has been sent a check (`AreYouThere`)."""
        self._looks.append(self._sent)

    def here(self) -> None:
        """The follower has answered a check, after handling everything that was sent before it."""
        if self._looks and self._seen < self._looks.popleft():
            self.fails = True
