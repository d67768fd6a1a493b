"""The definition of an API operation, as listed in each version's table: path, input and answer.

Read by `fc.app` to route, by `fc.auth.actions` to name actions, and by `fc.openapi` to describe the API.
"""

from typing import Any

import msgspec

# The path prefix of Sesame's own operations, which are signed and authorized like the API's.
OWN_PREFIX = "/sesame"
INVOKE = "InvokeFunction"


class ListOf(msgspec.Struct, frozen=True):
    """An answer with a page of records under `key`, and with `nextToken` (or the operation's name for it) if there are
    more.

    With `or_null`, an empty list is sent as null.
    """

    key: str
    item: Any
    or_null: bool = False
    next_token: str = "nextToken"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """`takes` is the struct of the JSON body, or with a query its parameters; `needs` lists what is required.

    `answers` None means status 204 without a body. With `upgrades`, the connection becomes a websocket. `own`
    operations are Sesame's, not the API's.
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
        """The complete path, for the router."""
        return self.prefix + self.path


class Table(msgspec.Struct, frozen=True):
    """Creates the operations of one version; `prefix` is `/` and the version."""

    prefix: str

    def op(self, name: str, where: str, summary: str, **rest: Any) -> Operation:
        """`where` is the method and the path below the prefix."""
        method, path = where.split(" ")
        return Operation(name=name, method=method, prefix=self.prefix, path=path, summary=summary, **rest)
