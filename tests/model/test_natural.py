"""Whole numbers as callers write them."""

import pytest

from sesame.model.natural import LARGEST, natural, whole

LONG = "9" * 5000


def test_digits_are_a_number() -> None:
    assert [natural(text) for text in ("0", "007", str(LARGEST))] == [0, 7, LARGEST]
    assert [whole(text) for text in ("5", "-5", "-0")] == [5, -5, 0]


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1_0", "1.0", "²", "٣", "1\n", str(LARGEST + 1), LONG])
def test_anything_else_is_none(text: str) -> None:
    assert natural(text) is None


@pytest.mark.parametrize("text", ["", "-", "--5", "- 5", "-²", f"-{LONG}"])
def test_one_sign_at_most(text: str) -> None:
    assert whole(text) is None


def test_the_largest_number_is_the_callers() -> None:
    assert (natural("10", 10), natural("11", 10)) == (10, None)
