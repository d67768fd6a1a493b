"""What recurs is said now and then."""

from sesame.model.seldom import EVERY_S, Seldom


def test_the_first_is_said_and_the_next_once_the_time_has_passed() -> None:
    now = [5.0]
    seldom = Seldom(lambda: now[0])
    assert seldom.may()
    assert not seldom.may()
    now[0] += EVERY_S - 0.1
    assert not seldom.may()
    now[0] += 0.1
    assert seldom.may()
    assert not seldom.may()
