"""How a call of a follower ended, on its way to the writer, which counts it and writes its line.

Used by `agents.follower` and `agents.followed`.
"""

import asyncio

import msgspec

from sesame.agents import messages as m
from sesame.model.errors import CallerError, Exhausted, NotStarted, PlatformError
from sesame.model.invocation import Invocation, Outcome

# What the writer tells apart; any other error of the caller is a refusal, and anything else our own failure.
_KINDS: dict[str, type[BaseException]] = {
    each.__name__: each for each in (Exhausted, NotStarted, CallerError, asyncio.CancelledError, PlatformError)
}


def told(invocation: Invocation, outcome: Outcome | BaseException) -> m.Ended:
    """Without the call's event, and without what an HTTP function answered."""
    call = msgspec.structs.replace(invocation, event=b"", stream=None)
    if isinstance(outcome, Outcome):
        if outcome.http_params is not None:
            outcome = msgspec.structs.replace(outcome, http_params=None)
        return m.Ended(call, outcome, "", "")
    return m.Ended(call, None, kind_of(outcome), str(outcome))


def heard(message: m.Ended) -> Outcome | BaseException:
    """What `told` was given, as far as the writer tells it apart."""
    return message.outcome or error_of(message.kind, message.text)


def kind_of(error: BaseException) -> str:
    """By which the other agent tells it apart."""
    return next((name for name, each in _KINDS.items() if isinstance(error, each)), PlatformError.__name__)


def error_of(kind: str, text: str) -> BaseException:
    """An error of this kind."""
    return _KINDS[kind](text)
