"""Checks for every resource before it is stored.

Called by all modules of `control`; pure functions that raise `Rejected` or `PreconditionFailed`.
"""

import re
from collections.abc import Sequence

import msgspec

from sesame.model import etags, limits
from sesame.model.errors import Invalid, Missing, PreconditionFailed
from sesame.model.records import Record
from sesame.model.shortened import shortened


def name(label: str, value: str, pattern: re.Pattern[str], chars: int) -> None:
    """Requires a name that matches the pattern; `chars` is the maximum length, for the message."""
    if not value:
        raise Missing(label)
    if not pattern.match(value):
        allowed = f"1 to {chars} letters, digits, '_' or '-', beginning with a letter or '_'"
        raise Invalid(label, allowed, shown(value))


def qualifier(label: str, value: str) -> None:
    """Requires the number of a version or the name of an alias, which need not exist; "" and LATEST are fine."""
    if value and not limits.VERSION_ID.match(value) and not limits.ALIAS_NAME.match(value):
        raise Invalid(label, "the number of a version, or a name that an alias may have", shown(value))


def length(label: str, value: str, chars: int) -> None:
    if len(value) > chars:
        raise Invalid(label, f"at most {chars} characters", f"{len(value)} characters")


def kept(label: str, settings: object) -> None:
    """Limits what is only stored and returned: its JSON has at most KEPT_SETTINGS_BYTES."""
    size = len(msgspec.json.encode(settings))
    if size > limits.KEPT_SETTINGS_BYTES:
        raise Invalid(label, f"at most {limits.KEPT_SETTINGS_BYTES} bytes of JSON", f"{size} bytes")


def description(value: str) -> None:
    length("description", value, limits.DESCRIPTION_CHARS)


def between(label: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise Invalid(label, f"{low} to {high}", value)


def one_of(label: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        raise Invalid(label, " | ".join(str(choice) for choice in allowed if choice != ""), shown(str(value)))


def precondition(record: Record | None, if_match: str | None) -> None:
    """Raises `PreconditionFailed` if `If-Match` does not name the current etag (reference/api.md §2), or there is none.

    A header without a value is no condition.
    """
    if if_match and (record is None or not etags.names(if_match, record.etag)):
        raise PreconditionFailed


def shown(value: str) -> str:
    """The value, shortened to the length that an error may repeat."""
    return shortened(value, limits.DESCRIPTION_CHARS)
