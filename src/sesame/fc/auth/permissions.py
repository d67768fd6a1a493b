"""Asks whether temporary credentials may do what a request wants: names its action and its resource.

Called by `fc.app` for callers with a session; the account's own keys may do everything.
Never evaluates a policy itself: `identity.roles` does (reference/companions.md §3.4).
"""

import re
from collections.abc import Mapping
from typing import Protocol

from sesame.fc.auth.verifier import Caller, Session
from sesame.fc.targets import VERSION_PREFIX, segment
from sesame.fc.v2016.operations import OPERATIONS
from sesame.model import limits
from sesame.model.errors import AccessDenied
from sesame.model.invocation import Target
from sesame.model.role import Principal

# Paths alternate between collections and names; each name stands as a star here.
_ACTIONS = {(each.method, re.sub(r"{[^}]*}", "*", each.path[1:])): each.name for each in OPERATIONS}
# What is no collection but a side of the resource before it.
_SIDES = frozenset(
    {
        "code", "invocations", "async-invoke-config", "provision-config", "on-demand-config", "binding", "bindings",
        "tempCodeBucketToken", "acl", "exec",
    }
)  # fmt: skip


class Verdict(Protocol):
    @property
    def allowed(self) -> bool: ...


class Roles(Protocol):
    """The part of `identity.roles.Roles` that is used here."""

    def authorize(self, principal: Principal, action: str, resource: str, context: Mapping[str, str]) -> Verdict: ...


class Permissions:
    """Without roles, temporary credentials may do nothing here."""

    def __init__(self, roles: Roles | None, region: str) -> None:
        self._roles = roles
        self._region = region

    def require(self, caller: Caller, method: str, raw_path: bytes) -> None:
        """Raises `AccessDenied` unless the caller may; paths without an operation are left to who answers them."""
        if caller.session is None:
            return
        asked = action_and_resource(method, raw_path)
        if asked is None:
            return
        self._require(caller, caller.session, asked)

    def require_invoke(self, caller: Caller, target: Target) -> None:
        """The same for a request that calls a function by another way than its own path."""
        if caller.session is not None:
            service = target.service if target.qualifier == limits.LATEST else f"{target.service}.{target.qualifier}"
            asked = ("fc:InvokeFunction", f"services/{service}/functions/{target.function}")
            self._require(caller, caller.session, asked)

    def _require(self, caller: Caller, session: Session, asked: tuple[str, str]) -> None:
        action, resource = asked[0], f"acs:fc:{self._region}:{caller.account_id}:{asked[1]}"
        if self._roles is None or not self._roles.authorize(session.principal, action, resource, {}).allowed:
            raise AccessDenied(f"the caller is not authorized to perform '{action}' on resource '{resource}'")


def action_and_resource(method: str, raw_path: bytes) -> tuple[str, str] | None:
    """`fc:InvokeFunction` and `services/s/functions/f`, or None where no operation is known.

    LATEST is left out of the resource, as no qualifier means the same: a policy cannot be got round by writing it.
    """
    parts = [segment(part) for part in raw_path.removeprefix(VERSION_PREFIX).split(b"/")]
    shape = "/".join(part if index % 2 == 0 else "*" for index, part in enumerate(parts))
    action = _ACTIONS.get(("GET" if method == "HEAD" else method, shape))
    if action is None:
        return None
    if len(parts) > 1:
        parts[1] = parts[1].removesuffix("." + limits.LATEST)
    if parts[-1] in _SIDES and len(parts) % 2:
        parts.pop()
    elif len(parts) % 2:
        parts.append("*")
    return "fc:" + action, "/".join(parts)
