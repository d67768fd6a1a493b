"""One result of `sesame doctor`, and its states."""

import msgspec

GOOD, POOR, BAD = "ok", "note", "wrong"


class Finding(msgspec.Struct, frozen=True, rename="camel"):
    """`state` is GOOD, POOR (works with a restriction) or BAD."""

    state: str
    what: str
    next_step: str = ""
