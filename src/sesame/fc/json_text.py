"""Parses JSON objects sent as text within a body, as versions after 2016-08-15 do for trigger settings.

Called by those versions' inputs.
"""

from typing import Any

import msgspec

from sesame.fc import wire_json
from sesame.fc.refusals import InvalidArgument

_EXPECTED = "the JSON text of an object"
_SHOWN_CHARS = 64


def object_of(text: str, field: str) -> dict[str, Any]:
    """`field` is its spelling in errors. Raises `InvalidArgument` for anything but an object of permitted values."""
    try:
        found = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument.of(field, _EXPECTED, text[:_SHOWN_CHARS]) from error
    if not isinstance(found, dict):
        raise InvalidArgument.of(field, _EXPECTED, text[:_SHOWN_CHARS])
    wire_json.check_values(found)
    return found
