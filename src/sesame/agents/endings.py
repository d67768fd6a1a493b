"""Converts the result of a follower's call into a message and back; the writer counts the call and logs it.

Used by `agents.follower` and `agents.followed`.
"""

import asyncio

import msgspec

from sesame.agents import messages as m
from sesame.model.errors import CallerError, Exhausted, NotStarted, PlatformError
from sesame.model.invocation import Invocation, Outcome

# The errors that the writer distinguishes. Any other `CallerError` is sent as such, anything else as `PlatformError`.
_KINDS: dict[str, type[BaseException]] = {
    each.__name__: each for each in (Exhausted, NotStarted, CallerError, asyncio.CancelledError, PlatformError)
}


def told(invocation: Invocation, outcome: Outcome | BaseException) -> m.Ended:
    """The message for an ended call, without its event, stream, HTTP response parameters and complete log."""
    call = msgspec.structs.replace(invocation, event=b"", stream=None)
    if isinstance(outcome, Outcome):
        if outcome.http_params is not None or outcome.log is not None:
            outcome = msgspec.structs.replace(outcome, http_params=None, log=None)
        return m.Ended(call, outcome, "", "")
    return m.Ended(call, None, kind_of(outcome), str(outcome))


def heard(message: m.Ended) -> Outcome | BaseException:
    """The inverse of `told`: returns the outcome, or an error of the same kind with the same text."""
    return message.outcome or error_of(message.kind, message.text)


def kind_of(error: BaseException) -> str:
    """The name in `_KINDS` for an error."""
    return next((name for name, each in _KINDS.items() if isinstance(error, each)), PlatformError.__name__)


def error_of(kind: str, text: str) -> BaseException:
    """Creates an error of a kind that `kind_of` returned."""
    return _KINDS[kind](text)
