"""Roles and their attached policies: lookup, creation and removal, and the initial roles of every account.

Called by `identity.authorization` and `identity.issuer` for every request of a role, by `fc.role_administration` and
`sesame roles` to change them, and by `_identity` at each start (`seed`).
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sesame.identity.console_roles import CONSOLE_ROLES, DEFAULT_ROLE, FUNCTION_COMPUTE
from sesame.identity.facts import ConditionContext, RequestFacts
from sesame.identity.policy.compiled import CompiledPolicies
from sesame.identity.policy.evaluator import Decision, Question, parse, parse_resource_policy, trust_of_service
from sesame.identity.policy.system_policies import SYSTEM_POLICIES
from sesame.identity.role_definitions import RoleDefinition, check, of_table, same_document
from sesame.model import records
from sesame.model.arn import parse_role_arn, role_arn
from sesame.model.errors import AlreadyExists, NotFound, Unusable
from sesame.model.owner import spoken_owner
from sesame.model.role import Policy, Principal, PrincipalKind, Role, Seed
from sesame.store.catalog import Catalog, Transaction

__all__ = ["DEFAULT_ROLE", "FUNCTION_COMPUTE", "Roles", "new_role", "parse_role_arn", "role_arn", "trust_of_service"]


class AttachedPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """`policy_type` is System or Custom; `document` is JSON text, "" if no policy has this name (any more)."""

    policy_name: str
    policy_type: str
    document: str


class RoleDescription(msgspec.Struct, frozen=True, rename="camel"):
    """A role with all details. `services` are the services, and functions without one, that currently use it."""

    role_name: str
    arn: str
    role_id: str
    description: str
    trust_policy: str
    policies: tuple[AttachedPolicy, ...]
    services: tuple[str, ...]
    max_session_duration: int


class Roles:
    """The roles of all accounts in the catalog. Reads use its memory, so they belong on the event loop's thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._trust = CompiledPolicies(parse_resource_policy)

    def get(self, account_id: str, role_name: str) -> Role | None:
        record = self._catalog.get(records.ROLE, account_id, role_name.lower())
        return record.document if record else None

    def of_session(self, principal: Principal) -> Role | None:
        """The role of a session; None if it was deleted, even if it has been recreated since."""
        role = self.get(principal.account_id, principal.role)
        return role if principal.kind is PrincipalKind.ROLE and role and role.role_id == principal.role_id else None

    def documents_of(self, principal: Principal) -> list[str]:
        """The policies of a role's session; none if the role was deleted."""
        role = self.of_session(principal)
        if role is None:
            return []
        attached = (self._attached(principal.account_id, name).document for name in role.policies)
        return [document for document in attached if document]

    def assumable(self, arn: str, service: str) -> Role | None:
        """The role, if it exists and trusts the service. For services, only the trust policy matters."""
        parsed = parse_role_arn(arn)
        role = self.get(*parsed) if parsed else None
        if role is None:
            return None
        return role if self._trusts(role, arn, (("Service", service),), {}) else None

    def trusts(self, role: Role, arn: str, caller: Principal, facts: RequestFacts) -> bool:
        """Whether the role's trust policy lets the holder of another role assume it."""
        # Trusting an account means trusting every identity in it.
        names = (role_arn(caller.account_id, caller.role), f"acs:ram::{caller.account_id}:root")
        return self._trusts(role, arn, tuple(("RAM", name) for name in names), ConditionContext(facts))

    def require_assumable(self, arn: str) -> None:
        """Validates a role that is set for a service. Raises `Unusable`."""
        if self.assumable(arn, FUNCTION_COMPUTE) is None:
            raise Unusable(
                f"role '{arn}' cannot be assumed: expected acs:ram::<account>:role/<name> of a role that exists and "
                f"trusts {FUNCTION_COMPUTE}; {self._next_step(arn)}"
            )

    def _next_step(self, arn: str) -> str:
        parsed = parse_role_arn(arn)
        # Every account here has the roles that the cloud's consoles create.
        if parsed is None or any(self._catalog.children(records.ROLE, parsed[0])):
            return "`sesame roles list` shows those that exist"
        return (
            f"the account {parsed[0]} is not here: name a role of this server's account (`sesame roles list`), or "
            f"start a new Sesame with the cloud's account id (`sesame start --account-id {parsed[0]}`)"
        )

    def all_of(self, account_id: str) -> list[RoleDescription]:
        """All roles of the account, sorted by name."""
        return [self._described(account_id, r.document) for r in self._catalog.children(records.ROLE, account_id)]

    def describe(self, account_id: str, role_name: str) -> RoleDescription:
        """Raises `NotFound`."""
        role = self.get(account_id, role_name)
        if role is None:
            raise NotFound(records.ROLE, role_name)
        return self._described(account_id, role)

    async def add(self, account_id: str, definition: RoleDefinition) -> RoleDescription:
        """Creates a role. Raises `AlreadyExists`, and the errors of `role_definitions.check`."""
        check(definition)

        def edit(tx: Transaction) -> None:
            if tx.get(records.ROLE, account_id, definition.role_name.lower()) is not None:
                raise AlreadyExists(records.ROLE, definition.role_name)
            _make(tx, account_id, definition)

        await self._catalog.edit(edit)
        return self.describe(account_id, definition.role_name)

    async def remove(self, account_id: str, role_name: str) -> RoleDescription:
        """Removes a role and its own policy; returns its description. Its sessions lose all permissions at once."""
        former = self.describe(account_id, role_name)

        def edit(tx: Transaction) -> None:
            name = former.role_name
            tx.delete(records.ROLE, account_id, name.lower())
            kept = (record.document.policies for record in tx.children(records.ROLE, account_id))
            if not any(name in policies for policies in kept):
                tx.delete(records.POLICY, account_id, name)

        await self._catalog.edit(edit)
        return former

    async def put(self, account_id: str, role: Role) -> None:
        """Creates or replaces a role. Raises MalformedPolicy for an invalid trust policy."""
        parse_resource_policy(role.trust_policy)
        await self._catalog.edit(lambda tx: tx.put(records.ROLE, account_id, role.role_name.lower(), role))

    async def put_policy(self, account_id: str, policy: Policy) -> None:
        """Creates or replaces a custom policy. Raises MalformedPolicy."""
        parse(policy.document)
        await self._catalog.edit(lambda tx: tx.put(records.POLICY, account_id, policy.policy_name, policy))

    async def delete(self, account_id: str, role_name: str) -> None:
        await self._catalog.edit(lambda tx: tx.delete(records.ROLE, account_id, role_name.lower()))

    async def seed(self, account_id: str, tables: Mapping[str, Any]) -> list[str]:
        """At every start, creates the missing roles of `[roles]` in sesame.toml and of the consoles.

        A console role that was removed is not created again. Returns a warning for each table that differs from an
        existing role, which takes precedence. Raises `ConfigurationError` for an invalid table.
        """
        wanted = [of_table(name, table) for name, table in tables.items()]

        def edit(tx: Transaction) -> list[str]:
            warnings = [_apply(tx, account_id, definition) for definition in wanted]
            record = tx.get(records.SEED, "", account_id)
            given = set() if record is None else set(record.document.roles)
            fresh = [role for role in CONSOLE_ROLES if role.role_name not in given]
            for role in fresh:
                if tx.get(records.ROLE, account_id, role.role_name.lower()) is None:
                    created = new_role(role.role_name, role.policies, role.description, trust=role.trust_policy)
                    tx.put(records.ROLE, account_id, role.role_name.lower(), created)
            if fresh:
                tx.put(records.SEED, "", account_id, Seed(tuple(sorted(given | {r.role_name for r in fresh}))))
            return [warning for warning in warnings if warning]

        return await self._catalog.edit(edit)

    def _trusts(self, role: Role, arn: str, caller: tuple[tuple[str, str], ...], context: Mapping[str, str]) -> bool:
        question = Question(action="sts:AssumeRole", resource=arn, context=context, caller=caller)
        return self._trust.policy(role.trust_policy).decide(question) is Decision.ALLOW

    def _attached(self, account_id: str, name: str) -> AttachedPolicy:
        """An attached policy that no longer exists grants nothing."""
        custom = self._catalog.get(records.POLICY, account_id, name)
        if custom is not None:
            return AttachedPolicy(name, "Custom", custom.document.document)
        return AttachedPolicy(name, "System", SYSTEM_POLICIES.get(name, ""))

    def _described(self, account_id: str, role: Role) -> RoleDescription:
        arn = role_arn(account_id, role.role_name)
        services = self._catalog.children(records.SERVICE, "")
        return RoleDescription(
            role_name=role.role_name,
            arn=arn,
            role_id=role.role_id,
            description=role.description,
            trust_policy=role.trust_policy,
            policies=tuple(self._attached(account_id, name) for name in role.policies),
            services=tuple(
                spoken_owner(record.name) for record in services if record.document.role.lower() == arn.lower()
            ),
            max_session_duration=role.max_session_duration,
        )


def new_role(name: str, policies: Sequence[str], description: str = "", *, trust: str | None = None) -> Role:
    """A role with a new id, trusted by Function Compute unless `trust` specifies otherwise."""
    return Role(
        role_name=name,
        role_id="3" + "".join(secrets.choice("0123456789") for _ in range(17)),
        trust_policy=trust or trust_of_service(FUNCTION_COMPUTE),
        policies=tuple(policies),
        description=description,
    )


def _make(tx: Transaction, account_id: str, definition: RoleDefinition) -> None:
    """A role's own policy becomes a custom policy with the role's name."""
    name = definition.role_name
    names = (*definition.policies, name) if definition.policy else definition.policies
    role = new_role(name, names, definition.description, trust=definition.trust_policy or None)
    role = msgspec.structs.replace(role, max_session_duration=definition.max_session_duration)
    tx.put(records.ROLE, account_id, name.lower(), role)
    if definition.policy:
        policy = Policy(policy_name=name, document=definition.policy, description=f"Own policy of {name}")
        tx.put(records.POLICY, account_id, name, policy)


def _apply(tx: Transaction, account_id: str, definition: RoleDefinition) -> str:
    """Creates the role. If one of this name exists, returns a warning if it differs, else ""."""
    name = definition.role_name
    record = tx.get(records.ROLE, account_id, name.lower())
    if record is None:
        _make(tx, account_id, definition)
        return ""
    kept: Role = record.document
    own = tx.get(records.POLICY, account_id, kept.role_name) if kept.role_name in kept.policies else None
    differing = [
        difference
        for difference, same in (
            ("policies", tuple(p for p in kept.policies if p != kept.role_name) == definition.policies),
            ("policy", same_document(own.document.document if own else "", definition.policy)),
            ("trust", same_document(kept.trust_policy, definition.trust_policy or trust_of_service(FUNCTION_COMPUTE))),
            ("description", definition.description in ("", kept.description)),
            ("max_session_duration", definition.max_session_duration == kept.max_session_duration),
        )
        if not same
    ]
    if not differing:
        return ""
    return (
        f"[roles.{name}] in sesame.toml is not applied: a role of this name exists and differs in "
        f"{' and '.join(differing)}; to take the file's, run `sesame roles remove {name}` and start again"
    )
