"""Which agent keeps an idle instance for a call that came elsewhere."""

import pytest
from tests.support.fakes import FakeClocks

from sesame.agents.policies import PROMISED_S, Promises, named_instance, takes_in


@pytest.mark.parametrize(
    ("idle", "promised", "running", "room", "taken"),
    [
        (1, 0, 0, True, True),
        (1, 0, 1, True, False),
        (1, 0, 1, False, True),
        (1, 1, 0, False, False),
        (2, 1, 0, True, False),
        (2, 1, 0, False, True),
        (0, 0, 0, False, False),
    ],
)
def test_an_idle_instance_is_taken_where_nothing_runs_or_where_there_is_no_room(
    *, idle: int, promised: int, running: int, room: bool, taken: bool
) -> None:
    assert takes_in(idle=idle, promised=promised, running=running, room=room) is taken


def test_a_promise_ends_when_the_call_is_there_or_does_not_come() -> None:
    clocks = FakeClocks()
    promises = Promises(clocks.monotonic)
    assert not promises
    promises.add("a")
    promises.add("a")
    assert (promises.count("a"), promises.count("b")) == (2, 0)
    promises.redeem("a")
    promises.redeem("b")
    assert promises.count("a") == 1
    clocks.advance(PROMISED_S)
    assert promises.count("a") == 0
    assert not promises


def test_the_instance_in_which_a_path_asks_for_a_command() -> None:
    assert named_instance(b"/2016-08-15/services/s/functions/f/instances/c-1/exec") == "c-1"
    assert named_instance(b"/2023-03-30/functions/f/instances/c-2/exec") == "c-2"
    assert named_instance(b"/2016-08-15/services/s/functions/f/instances") == ""
    assert named_instance(b"/2016-08-15/services/exec") == ""
    assert named_instance(b"") == ""
