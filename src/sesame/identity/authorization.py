"""Decides whether a caller may do what it asks for: the only place where policies are evaluated.

Called by every endpoint for every operation, and by `control` (through a `Requester`) if an operation passes on a
permission, for example by writing a role.
"""

import enum
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from sesame.identity.authentication import Caller
from sesame.identity.facts import ConditionContext, RequestFacts
from sesame.identity.policy.compiled import CompiledPolicies
from sesame.identity.policy.evaluator import CompiledPolicy, Decision, Question, strongest
from sesame.identity.roles import FUNCTION_COMPUTE, Roles, parse_role_arn, role_arn
from sesame.model import records
from sesame.model.errors import Forbidden
from sesame.model.role import Principal, PrincipalKind
from sesame.store.catalog import Catalog


class Source(enum.Enum):
    """Which rules made the decision."""

    ACCOUNT = "account"
    SESSION_POLICY = "session policy"
    IDENTITY_POLICY = "identity policy"


class Denied(Forbidden):
    """The caller may not do this. Endpoints word their refusals according to `decision` and `source`."""

    def __init__(self, action: str, resource: str, decision: Decision, source: Source) -> None:
        super().__init__(f"the caller is not authorized to perform '{action}' on resource '{resource}'")
        self.decision = decision
        self.source = source


class Authorization:
    """Reads policies from the catalog's memory, so it must be called on the event loop's thread."""

    def __init__(self, catalog: Catalog, roles: Roles) -> None:
        self._catalog = catalog
        self._roles = roles
        self._compiled = CompiledPolicies()

    def require(self, caller: Caller, action: str, resource: str, facts: RequestFacts) -> None:
        """Raises Denied unless the caller may do `action` (`oss:PutObject`) to `resource` (an ARN).

        The order is that of reference/companions.md §3.3: the session policy, then the role's own policies. The
        account's own key may do anything to what the account owns. No identity extends into another account: there,
        only the resource's own rules, such as a bucket's ACL, can allow access.
        """
        principal = caller.principal
        if principal.account_id != owner_of(resource) or principal.kind is PrincipalKind.ANONYMOUS:
            raise Denied(action, resource, Decision.IMPLICIT_DENY, Source.ACCOUNT)
        if principal.kind is PrincipalKind.ACCOUNT:
            return
        decision, source = self._decide(principal, action, resource, facts)
        if decision is not Decision.ALLOW:
            raise Denied(action, resource, decision, source)

    def require_not_denied(self, caller: Caller, action: str, resource: str, facts: RequestFacts) -> None:
        """Raises Denied if a policy of the caller explicitly denies this, even if none allows it."""
        if caller.principal.kind is PrincipalKind.ACCOUNT:
            return
        decision, source = self._decide(caller.principal, action, resource, facts)
        if decision is Decision.EXPLICIT_DENY:
            raise Denied(action, resource, decision, source)

    def asks_for(self, caller: Caller, key_prefix: str) -> bool:
        """Whether any condition of the caller's policies tests a key with this prefix (in normal form).

        For facts that are expensive to determine.
        """
        policies = self._policies(caller.principal)
        return any(key.startswith(key_prefix) for policy in policies for key in policy.condition_keys)

    def _decide(self, principal: Principal, action: str, resource: str, facts: RequestFacts) -> tuple[Decision, Source]:
        question = Question(action=action, resource=resource, context=ConditionContext(facts))
        if principal.session_policy is not None:
            decision = self._compiled.policy(principal.session_policy).decide(question)
            if decision is not Decision.ALLOW:
                return decision, Source.SESSION_POLICY
        if principal.kind is PrincipalKind.CODE_UPLOAD:
            return self._decide_upload(principal, facts), Source.SESSION_POLICY
        documents = self._roles.documents_of(principal)
        decisions = (self._compiled.policy(document).decide(question) for document in documents)
        return strongest(decisions), Source.IDENTITY_POLICY

    def _decide_upload(self, principal: Principal, facts: RequestFacts) -> Decision:
        """The credentials are void once the upload has been taken or has expired."""
        record = self._catalog.get(records.CODE_UPLOAD, "", principal.session)
        live = record is not None and facts.at < record.document.expires_at and principal.session_policy is not None
        return Decision.ALLOW if live else Decision.EXPLICIT_DENY

    def _policies(self, principal: Principal) -> Iterator[CompiledPolicy]:
        if principal.session_policy is not None:
            yield self._compiled.policy(principal.session_policy)
        if principal.kind is PrincipalKind.ROLE:
            yield from (self._compiled.policy(document) for document in self._roles.documents_of(principal))


class Requester:
    """A caller with the facts of its request, for operations that need more permissions than their path implies.

    `asked` is the action and the resource (an ARN) of the path. `other_names` maps actions to further names: what a
    policy denies under any of them is denied.
    """

    def __init__(
        self,
        authorization: Authorization,
        caller: Caller,
        facts: RequestFacts,
        asked: tuple[str, str] = ("", ""),
        other_names: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self._authorization = authorization
        self._caller = caller
        self._facts = facts
        self._asked = asked
        self._other_names = other_names

    @property
    def principal(self) -> Principal:
        return self._caller.principal

    def require(self, action: str, resource: str, tags: Mapping[str, str] | None = None) -> None:
        """Like `Authorization.require`, for a resource that the path does not name; `tags` are the resource's."""
        keys = {f"acs:ResourceTag/{key}": value for key, value in (tags or {}).items()}
        facts = self._facts.with_keys(keys) if keys else self._facts
        self._authorization.require(self._caller, action, resource, facts)
        for other in self._other_names.get(action, ()):
            self._authorization.require_not_denied(self._caller, other, resource, facts)

    def require_part(self, action: str) -> None:
        """Raises Denied if a policy denies `action`, a part of the operation, on the path's resource."""
        self._authorization.require_not_denied(self._caller, action, self._asked[1], self._facts)

    def may(self, action: str, resource: str, tags: Mapping[str, str] | None = None) -> bool:
        """Whether `require` would succeed. For lists, which omit what the caller may not see."""
        try:
            self.require(action, resource, tags)
        except Denied:
            return False
        return True

    def confirm(self, keys: Mapping[str, str]) -> None:
        """Checks the path's permission again with facts from the body. Raises Denied."""
        self._authorization.require(self._caller, *self._asked, self._facts.with_keys(keys))

    def confirm_not_denied(self, keys: Mapping[str, str]) -> None:
        """Raises Denied if a policy denies what the path asks for, given facts from the body."""
        self._authorization.require_not_denied(self._caller, *self._asked, self._facts.with_keys(keys))

    def pass_role(self, role: str) -> None:
        """Raises Denied unless the caller may pass this role (an ARN or a bare name) to Function Compute.

        The account's own key may pass any role; whether the role exists is checked separately.
        """
        if self.principal.kind is PrincipalKind.ACCOUNT:
            return
        named = parse_role_arn(role)
        bare = not named and not role.startswith("acs:")
        resource = role_arn(*named) if named else role_arn(self.principal.account_id, role) if bare else role
        keys = {"acs:Service": FUNCTION_COMPUTE, "ram:ServiceName": FUNCTION_COMPUTE}
        self._authorization.require(self._caller, "ram:PassRole", resource, self._facts.with_keys(keys))


def owner_of(resource: str) -> str:
    """The account in an ARN (`acs:service:region:account:name`); "" if there is none."""
    segments = resource.split(":", 4)
    return segments[3] if len(segments) == 5 else ""
