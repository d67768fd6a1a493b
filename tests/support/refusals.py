"""Expects a refusal of a package below the endpoints, in the words that the API of 2016-08-15 gives it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sesame.fc.refusals import ApiError
from sesame.fc.wording import worded
from sesame.model.errors import CallerError


class Caught:
    """`value` is set once the block has ended."""

    value: ApiError


@contextmanager
def refused(code: str, match: str = "") -> Iterator[Caught]:
    """The block is refused with this error code, and with a text that `match` is found in."""
    found = Caught()
    with pytest.raises(CallerError) as caught:
        yield found
    found.value = worded(caught.value)
    assert found.value.code == code, str(found.value)
    assert re.search(match, str(found.value)), str(found.value)
