"""The search before the bar as a tree, and the query split at the bar. Built by `grammar`, read by `conditions`."""

from typing import Literal

import msgspec

Operator = Literal[">", ">=", "<", "<=", "="]


class All(msgspec.Struct, frozen=True):
    """`*`, or no search at all."""


class Words(msgspec.Struct, frozen=True):
    """All words of the text occur in the field, or each in some field of a log if `field` is None.

    A quoted text has no wildcards. A phrase (`#"…"`) must also occur literally in the field.
    """

    text: str
    field: str | None = None
    quoted: bool = False
    phrase: bool = False


class Exists(msgspec.Struct, frozen=True):
    """`field:*`."""

    field: str


class Empty(msgspec.Struct, frozen=True):
    """`field:""`: the log has the field, and it is empty."""

    field: str


class Comparison(msgspec.Struct, frozen=True):
    """`field > number`. Without a numeric index it is a search for its words, as the manual says."""

    field: str
    operator: Operator
    value: str


class Range(msgspec.Struct, frozen=True):
    """`field in [low high)`: a square bracket includes its number."""

    field: str
    low: str
    high: str
    with_low: bool
    with_high: bool


class And(msgspec.Struct, frozen=True):
    parts: tuple["Search", ...]


class Or(msgspec.Struct, frozen=True):
    parts: tuple["Search", ...]


class Not(msgspec.Struct, frozen=True):
    part: "Search"


Search = All | Words | Exists | Empty | Comparison | Range | And | Or | Not


class Parsed(msgspec.Struct, frozen=True):
    """A query: its search as text and as a tree, and the SQL after the bar, if any.

    `with_pack_meta` requests the field from which a context query starts.
    """

    where: str
    search: Search
    sql: str | None = None
    with_pack_meta: bool = False


def terms_of(search: Search) -> tuple[tuple[str, str], ...]:
    """Field ("" for any) and text of everything that a matching log may contain, in order, without excluded terms."""
    match search:
        case Words(text, field):
            return ((field or "", text),)
        case And(parts) | Or(parts):
            return tuple(term for part in parts for term in terms_of(part))
        case _:
            return ()
