"""Decides who may assume a role, and creates the credentials of its session (AssumeRole).

Called by `sts.operations`. Functions get their service's role through `identity.issuer` instead, to which the limits
here do not apply (reference/companions.md §2.2, §2.4, §3.3).
"""

from collections.abc import Callable, Mapping

import msgspec

from sesame.identity.authentication import Caller
from sesame.identity.authorization import Authorization
from sesame.identity.facts import RequestFacts
from sesame.identity.roles import Roles, role_arn
from sesame.identity.tokens import Grant, Tokens
from sesame.model import records
from sesame.model.errors import Forbidden, NotFound, Rejected
from sesame.model.invocation import Credentials
from sesame.model.role import PrincipalKind


class RootMayNotAssume(Forbidden):
    """The account's own key may do anything except assume a role."""

    def __init__(self) -> None:
        super().__init__("Roles may not be assumed by root accounts.")


class NotTrusted(Forbidden):
    """The role's trust policy does not name the caller."""

    def __init__(self, arn: str) -> None:
        super().__init__(f"the trust policy of the role '{arn}' does not allow the caller to assume it")


class TooLong(Rejected):
    """The session would last longer than the role allows."""

    def __init__(self, most_s: int) -> None:
        super().__init__(f"a session of this role lasts at most {most_s} seconds")
        self.most_s = most_s


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """The role to assume, by account and name, and the properties of the session.

    `policy` (JSON text) restricts the session. `keys` are the condition keys that the trust policy may test.
    """

    role: tuple[str, str]
    session: str
    valid_s: int
    policy: str | None
    keys: Mapping[str, str]


class AssumedRole(msgspec.Struct, frozen=True):
    """`expires_at` is in Unix seconds; `role_name` is spelled as when the role was created."""

    credentials: Credentials
    account_id: str
    role_name: str
    role_id: str
    session: str
    expires_at: float


class Assuming:
    """`clock` returns Unix seconds."""

    def __init__(self, authorization: Authorization, roles: Roles, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._authorization = authorization
        self._roles = roles
        self._tokens = tokens
        self._clock = clock

    def has_role(self, caller: Caller) -> bool:
        """Whether the caller is a session of a role that still exists."""
        return self._roles.of_session(caller.principal) is not None

    def assume(self, caller: Caller, wish: Wish, facts: RequestFacts) -> AssumedRole:
        """Creates a session if both the caller's policies and the role's trust policy allow it.

        The session carries its caller's chain of functions, so that recursion is detected.

        Raises `RootMayNotAssume`, `Denied` by the caller's policies, `NotFound`, `NotTrusted`, or `TooLong`.
        """
        principal = caller.principal
        if principal.kind is PrincipalKind.ACCOUNT:
            raise RootMayNotAssume
        account_id, name = wish.role
        arn = role_arn(account_id, name)
        self._authorization.require(caller, "sts:AssumeRole", arn, facts)
        role = self._roles.get(account_id, name)
        if role is None:
            raise NotFound(records.ROLE, arn)
        if not self._roles.trusts(role, arn, principal, facts.with_keys(wish.keys)):
            raise NotTrusted(arn)
        if wish.valid_s > role.max_session_duration:
            raise TooLong(role.max_session_duration)
        grant = Grant(
            account_id=account_id,
            role=role.role_name,
            role_id=role.role_id,
            session=wish.session,
            policy=wish.policy,
            chain=principal.chain,
        )
        expires_at = self._clock() + wish.valid_s
        credentials = self._tokens.issue(grant, wish.valid_s)
        return AssumedRole(credentials, account_id, role.role_name, role.role_id, wish.session, expires_at)
