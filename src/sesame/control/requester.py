"""The caller who requests a change, with the permission checks that `control` needs, including passing a role.

Implemented by `identity.authorization.Requester`, which the endpoints create for every request.
"""

import re
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from sesame.model.role import Principal

_ROLE_ARN = re.compile(r"acs:ram:[^:]*:[^:]*:role/", re.IGNORECASE)
_ROLE_FIELD = re.compile(r"role(_?arn)?\Z", re.IGNORECASE)
# Data of the function itself, which never name a role to pass.
_PLAIN_DATA = frozenset({"code", "description", "environment_variables", "functionParameter", "payload"})


class Requester(Protocol):
    @property
    def principal(self) -> Principal: ...

    def require(self, action: str, resource: str) -> None:
        """Raises `Forbidden` unless the caller may do `action` on `resource` (an ARN)."""

    def pass_role(self, role: str) -> None:
        """Raises `Forbidden` unless the caller may let Function Compute assume this role (`ram:PassRole`)."""


def require_pass_role(by: Requester, sent: msgspec.Struct) -> None:
    """Checks every role that the input names, at any depth. Raises `Forbidden` for one that may not be passed.

    A role is the value of a field whose name ends in `role` or `roleArn`, and any text that is a role's ARN.
    """
    for role in _roles_in(sent):
        by.pass_role(role)


def _roles_in(value: Any, *, named_so: bool = False) -> Iterator[str]:
    if isinstance(value, str):
        if value and (named_so or _ROLE_ARN.match(value)):
            yield value
        return
    if isinstance(value, msgspec.Struct):
        value = {field: getattr(value, field) for field in value.__struct_fields__}
    if isinstance(value, dict):
        for name, held in value.items():
            if name not in _PLAIN_DATA:
                yield from _roles_in(held, named_so=bool(_ROLE_FIELD.search(name)))
    elif isinstance(value, list | tuple):
        for held in value:
            yield from _roles_in(held, named_so=named_so)
