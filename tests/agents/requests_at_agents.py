"""Requests that come to any agent, move as these say, and call once their bodies are there. On fakes, over real links.

Used by tests of where calls go.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.agents.test_credits_machine import TURNS, WRITER, CreditsMachine

from sesame.agents import calls, kept_idle, writers_calls
from sesame.agents.calls import Calls
from sesame.agents.messages import Place
from sesame.agents.writers_calls import WritersCalls
from sesame.model.invocation import Invocation, Outcome, Target


class Request:
    """In the place of an exchange, and of its connection."""

    def __init__(self, at: int, target: Target) -> None:
        self.at = at
        self.target = target
        self.moves = 0
        # What is read before the function is called.
        self.body = asyncio.Event()

    async def served(self, machine: CreditsMachine, number: int) -> Outcome:
        while True:
            # Each agent answers it in a task of its own.
            outcome = await asyncio.create_task(self._come(machine, number))
            if outcome is not None:
                return outcome
            await asyncio.sleep(0)

    async def _come(self, machine: CreditsMachine, number: int) -> Outcome | None:
        if self.at == WRITER:
            placement: Any = machine.writer.calls
            engine = machine.engine.local
        else:
            process = machine.followers[self.at]
            placement, engine = process.follower.calls, process.engine
        moving = placement.moves(self.target, cast(Any, self))
        if moving is not None and await moving:
            return None
        await self.body.wait()
        return await engine.invoke(Invocation(f"q-{number}", self.target, b"e"))


def moving_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has these move, in the place of connections."""
    for module in (calls, kept_idle, writers_calls):
        monkeypatch.setattr(module, "connection_of", lambda exchange: exchange)

    async def moved_by_follower(_self: Calls, place: Place, exchange: Request, *, proven: bool) -> bool:
        exchange.moves, exchange.at = exchange.moves + 1, place.agent
        return True

    async def moved_by_writer(self: WritersCalls, agent: int, exchange: Request, *, proven: bool = False) -> bool:
        if agent not in self._writer.followers:
            return False
        exchange.moves, exchange.at = exchange.moves + 1, agent
        return True

    monkeypatch.setattr(Calls, "move_to", moved_by_follower)
    monkeypatch.setattr(WritersCalls, "move_to", moved_by_writer)


class RequestsMachine(CreditsMachine):
    """With requests, in the order in which they came."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        # How long anything that comes has, before the next comes.
        self.turns = TURNS

    def request(self, at: int, name: str, *, whole: bool = True) -> int:
        """Its number; unless it is `whole`, its body is yet to come."""
        number = len(self.requests)

        def come() -> None:
            request = Request(at, Target("s", "LATEST", name))
            if whole:
                request.body.set()
            self.requests.append(request)
            self.tasks.append(asyncio.ensure_future(request.served(self, number)))

        self.inside(come)
        return number

    def body_of(self, number: int) -> None:
        """The rest of it comes."""
        self.inside(self.requests[number].body.set)

    def inside(self, action: Callable[[], object]) -> None:
        async def act() -> None:
            action()
            for _ in range(self.turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(act())

    def settle(self) -> None:
        self.turns = TURNS
        self.inside(lambda: None)

    def refusals(self) -> list[BaseException]:
        ended = [each for each in self.tasks if each.done() and not each.cancelled()]
        return [error for each in ended if (error := each.exception()) is not None]

    def calls_of(self, name: str) -> list[int]:
        """How many calls each living instance of the function has had."""
        return sorted(len(each.calls) for driver in self._drivers() for each in driver.alive if _name(each) == name)


def _name(sandbox: Any) -> str:
    return str(sandbox.spec.setup["function"]["name"])
