"""Chains of invocations: extended, bounded, and cut where a function leads to itself too often."""

import pytest

from sesame.model.errors import Recursive
from sesame.model.invocation import Target
from sesame.model.recursion import CHAIN_CHARS_MAX, Chain, extended, require_below

A, B = Target("s", "LATEST", "a"), Target("s", "1", "b")


def test_a_loop_is_cut_at_the_limit() -> None:
    chain: Chain = ()
    for _ in range(3):
        for target in (A, B):
            require_below(3, chain, target)
            chain = extended(chain, target)
    assert chain == ("s/a", "s/b") * 3
    with pytest.raises(Recursive, match=r"function 's/a' led to its own invocation 3 times"):
        require_below(3, chain, A)
    # Whatever its qualifier.
    with pytest.raises(Recursive):
        require_below(3, chain, Target("s", "LATEST", "b"))
    require_below(4, chain, A)
    require_below(3, chain, Target("other", "LATEST", "a"))


def test_no_limit() -> None:
    require_below(0, ("s/a",) * 1000, A)


def test_the_beginning_of_a_long_chain_is_left_out() -> None:
    chain: Chain = ()
    for number in range(1000):
        chain = extended(chain, Target("service", "LATEST", f"function-{number}"))
        assert sum(map(len, chain)) <= CHAIN_CHARS_MAX
    assert chain[-1] == "service/function-999"
    assert len(chain) > 90
    longest = extended(chain, Target("s" * 128, "LATEST", "f" * 64))
    assert longest[-1] == "s" * 128 + "/" + "f" * 64
    assert sum(map(len, longest)) <= CHAIN_CHARS_MAX
