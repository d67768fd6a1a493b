"""Where calls run and instances start, as plain values. Run by pytest."""

import pytest

from sesame.placement.policies import Place, Room, cold_start, idle_elsewhere, local, moves, share


@pytest.mark.parametrize(
    ("idle", "on_node", "unused", "fits", "place"),
    [
        (1, 1, 1, True, Place.IDLE_HERE),
        (0, 1, 1, True, Place.IDLE_ON_NODE),
        (0, 0, 1, True, Place.OWN_CREDIT),
        (0, 0, 1, False, Place.ASK_HOME),
        (0, 0, 0, True, Place.ASK_HOME),
    ],
)
def test_warmth_comes_first(idle: int, on_node: int, unused: int, fits: bool, place: Place) -> None:
    assert local(idle, on_node, unused, fits=fits) is place


def test_of_idle_instances_those_that_are_few_are_used() -> None:
    assert idle_elsewhere({"a": 3, "b": 1, "c": 0}) == "b"
    assert idle_elsewhere({"a": 0}) is None


def test_a_start_goes_to_the_least_full_or_stays_where_the_call_is() -> None:
    rooms = [Room("full", 1000, 1024), Room("half", 512, 1024), Room("large", 1024, 4096), Room("close", 1040, 4096)]
    assert cold_start(rooms, "half", 128) == "large"
    assert cold_start(rooms, "close", 128) == "close"
    assert cold_start(rooms[:1], "half", 128) is None
    assert cold_start([], "half", 128) is None


def test_an_instance_moves_from_the_fuller_to_the_least_full() -> None:
    others = [Room("a", 500, 1000), Room("b", 400, 1000), Room("c", 600, 1000)]
    assert moves(Room("own", 600, 1000), others, [100, 64]) == (0, "b")
    assert moves(Room("own", 510, 1000), others, [64]) is None
    assert moves(Room("own", 600, 1000), others, []) is None
    assert moves(Room("own", 600, 1000), [], [64]) is None


def test_one_moves_that_does_not_make_the_least_full_the_fuller_one_be_it_not_the_longest_idle() -> None:
    others = [Room("a", 500, 1000), Room("b", 400, 1000), Room("c", 600, 1000)]
    assert moves(Room("own", 600, 1000), others, [101, 512, 64, 32]) == (2, "b")
    assert moves(Room("own", 600, 1000), others, [101, 512]) is None


@pytest.mark.parametrize(("wanted", "free", "granted"), [(1, 1, 1), (9, 5, 3), (2, 5, 2), (1, 0, 0), (1, -1, 0)])
def test_one_agent_gets_half_of_what_is_free(wanted: int, free: int, granted: int) -> None:
    assert share(wanted, free) == granted
