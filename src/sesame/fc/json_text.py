"""Reads JSON objects that a body holds as text, as the versions after 2016-08-15 send the settings of triggers.

Called by those versions' inputs.
"""

from typing import Any

import msgspec

from sesame.fc import wire_json
from sesame.fc.refusals import InvalidArgument

_EXPECTED = "the JSON text of an object"
_SHOWN_CHARS = 64


def object_of(text: str, field: str) -> dict[str, Any]:
    """`field` as an error spells it. Raises `InvalidArgument` for other text, and for values that no body may hold."""
    try:
        found = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument.of(field, _EXPECTED, text[:_SHOWN_CHARS]) from error
    if not isinstance(found, dict):
        raise InvalidArgument.of(field, _EXPECTED, text[:_SHOWN_CHARS])
    wire_json.check_values(found)
    return found
