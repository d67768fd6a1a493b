"""The search before the bar as a tree, and the whole query cut at the bar. Built by `grammar`, read by `conditions`."""

from typing import Literal

import msgspec

Operator = Literal[">", ">=", "<", "<=", "="]


class All(msgspec.Struct, frozen=True):
    """`*`, or no search at all."""


class Words(msgspec.Struct, frozen=True):
    """All words of the text are in the field, or in one of the fields of a log when `field` is None.

    A text that was quoted has no wildcards. A phrase (`#"…"`) is in the field as it stands, too.
    """

    text: str
    field: str | None = None
    quoted: bool = False
    phrase: bool = False


class Exists(msgspec.Struct, frozen=True):
    """`field:*`."""

    field: str


class Empty(msgspec.Struct, frozen=True):
    """`field:""`: the log has the field, and nothing is in it."""

    field: str


class Comparison(msgspec.Struct, frozen=True):
    """`field > number`. Without an index of numbers it is a search for its words, as the manual says."""

    field: str
    operator: Operator
    value: str


class Range(msgspec.Struct, frozen=True):
    """`field in [low high)`: a square bracket takes its number in."""

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
    """A query: its search as written and as a tree, and the SQL behind the bar, if any.

    `with_pack_meta` says that the rows shall name the place that a context query starts from.
    """

    where: str
    search: Search
    sql: str | None = None
    with_pack_meta: bool = False


def terms_of(search: Search) -> tuple[tuple[str, str], ...]:
    """Field ("" for any) and text of all that a matching log may contain, in order; what must not be there is none."""
    match search:
        case Words(text, field):
            return ((field or "", text),)
        case And(parts) | Or(parts):
            return tuple(term for part in parts for term in terms_of(part))
        case _:
            return ()
