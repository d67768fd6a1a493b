"""Applies the rules of a resource: all to a new one, and to a changed one those whose values the change concerns.

Called by the modules of `control` that store resources. A value from before a rule existed stays while others change.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec


class Rule(msgspec.Struct, frozen=True):
    """`check` gets the values of `fields` and nothing else, so that it cannot depend on a field that is not named.

    A field may be a path, such as `later.idle_timeout`. `check` raises `Rejected`.
    """

    fields: tuple[str, ...]
    check: Callable[..., None]

    def values(self, document: msgspec.Struct) -> list[Any]:
        return [attrgetter(field)(document) for field in self.fields]


def apply(rules: Sequence[Rule], document: msgspec.Struct, former: msgspec.Struct | None = None) -> None:
    """Raises `Rejected` for the first violated rule of which `document` has other values than `former`."""
    for rule in rules:
        values = rule.values(document)
        if former is None or values != rule.values(former):
            rule.check(*values)
