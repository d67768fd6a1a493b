"""A request being processed, and the collaborators that operations share.

Created by `sls.app` and passed to every operation.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from sesame.identity.authentication import Caller
from sesame.model.conversion import converted
from sesame.model.errors import Rejected
from sesame.model.natural import natural
from sesame.sls.errors import SlsError, parameter_invalid
from sesame.sls.permissions import Permissions
from sesame.sls.request import NUMBER_MAX, Request
from sesame.store.logs.logstores.interface import Logstores

T = TypeVar("T")

_BOOLEANS = {"true": True, "false": False}


class Dependencies(msgspec.Struct, frozen=True):
    """`clock` gives Unix seconds; every project belongs to `account_id` and is in `region`.

    Operations hold `reading` while they parse a large body into log groups.
    """

    store: Logstores
    permissions: Permissions
    clock: Callable[[], float]
    region: str
    account_id: str
    reading: asyncio.Semaphore


class Call(msgspec.Struct, frozen=True):
    """`names` are the parameters in the path: `logstore`, `shard`, `group`. `body` is decompressed."""

    dependencies: Dependencies
    request: Request
    caller: Caller
    names: dict[str, str]
    body: bytes

    @property
    def store(self) -> Logstores:
        return self.dependencies.store

    @property
    def project(self) -> str:
        return self.request.project

    @property
    def logstore(self) -> str:
        return self.names["logstore"]

    def require(self, action: str, resource: str) -> None:
        """Checks the right to a resource named in the body, for operations without actions in the table.

        Raises SlsError.
        """
        self.dependencies.permissions.require(self.caller, self.request, (action,), resource)

    def text(self, name: str, default: str = "") -> str:
        return self.request.query.get(name, default)

    def number(self, name: str, default: int, code: str = "ParameterInvalid") -> int:
        """An integer query parameter. Raises SlsError with `code` for anything else."""
        sent = self.request.query.get(name)
        if not sent:
            return default
        found = natural(sent, NUMBER_MAX)
        if found is None:
            raise parameter_invalid(name, "a number", sent[:64], code)
        return found

    def flag(self, name: str, *, default: bool, code: str = "ParameterInvalid") -> bool:
        sent = self.request.query.get(name, "")
        if not sent:
            return default
        found = _BOOLEANS.get(sent.lower())
        if found is None:
            raise parameter_invalid(name, "true or false", sent[:64], code)
        return found

    def json(self, kind: type[T], code: str = "ParameterInvalid") -> T:
        """Decodes the body as `kind`. Raises SlsError with `code`."""
        try:
            found = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SlsError(code, f"the body is not valid json string: {error}") from error
        try:
            return converted(found, kind, "the body")
        except Rejected as error:
            raise SlsError(code, str(error)) from error

    def page(self, names: list[T], *, size_max: int = 500) -> list[T]:
        """The page of `names` that the `offset` and `size` parameters select."""
        size = self.number("size", size_max)
        if not 0 < size <= size_max:
            raise parameter_invalid("size", f"1 to {size_max}", size)
        offset = self.number("offset", 0)
        return names[offset : offset + size]


Document = dict[str, Any]
