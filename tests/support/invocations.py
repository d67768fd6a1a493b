"""Asynchronous invocations to put into a queue, and how they end.

Used by tests of the queue and of those that it is given to.
"""

import itertools
from typing import Any

import msgspec
from tests.support.fakes import FakeClocks

from sesame.model.async_invocation import Ending, NewInvocation, State
from sesame.model.invocation import Target

TARGET = Target("service", "LATEST", "function")
DAY_S = 86_400.0
_NUMBERS = itertools.count(1)


def new_invocation(clocks: FakeClocks, **fields: Any) -> NewInvocation:
    """One that is due now and expires in a day, with an id of its own, unless `fields` say otherwise."""
    number = next(_NUMBERS)
    new = NewInvocation(
        target=TARGET,
        invocation_id=f"id-{number:06}",
        request_id=f"request-{number:06}",
        payload=b"event",
        stateful=True,
        source="api",
        not_before=clocks.wall(),
        expires_at=clocks.wall() + DAY_S,
    )
    return msgspec.structs.replace(new, **fields)


def ended(clocks: FakeClocks, state: State = State.SUCCEEDED, **fields: Any) -> Ending:
    return msgspec.structs.replace(Ending(state=state, ended_at=clocks.wall()), **fields)
