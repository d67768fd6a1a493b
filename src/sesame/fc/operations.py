"""What an operation of an API is, as the table of each version lists it: its place, what it takes, what it answers.

Read by `fc.app` to route, by `fc.auth.actions` to name actions, by `fc.openapi` to describe the API.
"""

from typing import Any

import msgspec

# Of what Sesame offers beside the API, signed and authorized like the API's own operations.
OWN_PREFIX = "/sesame"
INVOKE = "InvokeFunction"


class ListOf(msgspec.Struct, frozen=True):
    """An answer with some records under `key`, and `nextToken` (or what the operation calls it) where there are more.

    `or_null` says that an empty list is null.
    """

    key: str
    item: Any
    or_null: bool = False
    next_token: str = "nextToken"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """`takes` is the struct of the JSON body, which `needs` these fields, or for a query these parameters.

    None for the answer means no body (and status 204). One that `upgrades` goes on as a websocket. `own` operations
    are Sesame's and no part of the API.
    """

    name: str
    method: str
    prefix: str
    path: str
    takes: type[msgspec.Struct] | None = None
    needs: tuple[str, ...] = ()
    answers: Any = None
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    summary: str = ""
    upgrades: bool = False
    own: bool = False

    @property
    def route(self) -> str:
        """The whole path, for the router."""
        return self.prefix + self.path


class Table(msgspec.Struct, frozen=True):
    """Makes the operations of one version; `prefix` is `/` and the version."""

    prefix: str

    def op(self, name: str, where: str, summary: str, **rest: Any) -> Operation:
        """`where` is the method and the path below the prefix."""
        method, path = where.split(" ")
        return Operation(name=name, method=method, prefix=self.prefix, path=path, summary=summary, **rest)
