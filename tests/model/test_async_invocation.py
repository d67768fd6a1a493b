"""The states of an asynchronous invocation and the moves between them.

Run by pytest.
"""

from sesame.model.async_invocation import FINAL, LEASED, LEGAL_MOVES, State


def test_every_state_has_its_moves_and_a_final_state_has_none() -> None:
    assert set(LEGAL_MOVES) == set(State)
    assert {State.SUCCEEDED, State.FAILED, State.EXPIRED, State.STOPPED} == FINAL
    assert all(not LEGAL_MOVES[state] for state in FINAL)


def test_every_state_can_reach_an_end() -> None:
    for state in State:
        reached = {state}
        while new := {move for each in reached for move in LEGAL_MOVES[each]} - reached:
            reached |= new
        assert reached & FINAL, f"{state.value} never ends"


def test_only_a_leased_invocation_can_succeed_or_fail() -> None:
    for ending in (State.SUCCEEDED, State.FAILED):
        assert {state for state, moves in LEGAL_MOVES.items() if ending in moves} == LEASED
