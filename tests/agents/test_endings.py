"""What the writer learns of a call that a follower did not run."""

import asyncio

import pytest

from sesame.agents.endings import heard, told
from sesame.model.errors import CallerError, Exhausted, NotStarted, PlatformError
from sesame.model.invocation import Invocation, Target


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Exhausted("the cap of 1 is reached"), Exhausted),
        (NotStarted("no such handler"), NotStarted),
        (CallerError("not so"), CallerError),
        (asyncio.CancelledError(), asyncio.CancelledError),
        (PlatformError("the server is stopping"), PlatformError),
        (ValueError("unforeseen"), PlatformError),
    ],
)
def test_a_refusal_is_counted_as_where_it_was_said(error: BaseException, kind: type[BaseException]) -> None:
    got = heard(told(Invocation("id", Target("s", "0", "f"), b"event"), error))
    assert type(got) is kind
    assert str(got) == str(error)
