"""Matches answers that arrive over a link to the questions that wait for them.

Used by `agents.follower` and `agents.idle_there`, each for what one side asks the other.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from sesame.agents.messages import Message


class Questions:
    def __init__(
        self, send: Callable[[Message], None], unclaimed: Callable[[Any], None] = lambda _answer: None
    ) -> None:
        """`unclaimed` is called with each answer for which nobody waits, as after a cancellation."""
        self._send = send
        self._unclaimed = unclaimed
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def ask(self, question: Callable[[int], Message]) -> Any:
        """Sends the question with a new number and returns the answer.

        Raises `ConnectionResetError` if the link ends first.
        """
        n = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[n] = answer
        self._send(question(n))
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self._unclaimed(answer.result())
            raise
        finally:
            self._answers.pop(n, None)

    def answered(self, n: int, message: Message) -> None:
        answer = self._answers.get(n)
        if answer is None or answer.done():
            self._unclaimed(message)
        else:
            answer.set_result(message)

    def lost(self) -> None:
        """The link has ended: every question fails with `ConnectionResetError`."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the other agent has ended"))
