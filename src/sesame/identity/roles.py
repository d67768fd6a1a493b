"""Roles and the policies attached to them, and the one question that every door asks: may this principal do that?

Called by the doors (`authorize`), by `identity.issuer` (`assumable`), by `app` at first start (`seed`).
Never checks who a caller is: principals come proven.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sesame.identity.policy.evaluator import (
    Decision,
    MalformedPolicy,
    Question,
    parse,
    parse_resource_policy,
)
from sesame.identity.policy.system_policies import SYSTEM_POLICIES
from sesame.model import records
from sesame.model.errors import ConfigurationError, Unusable
from sesame.model.role import Policy, Principal, PrincipalKind, Role, Seed
from sesame.store.catalog import Catalog, Transaction

FUNCTION_COMPUTE = "fc.aliyuncs.com"
DEFAULT_ROLE = "AliyunFCDefaultRole"
DEFAULT_ROLE_POLICIES = ("AliyunOSSFullAccess", "AliyunLogFullAccess")
_ROLE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_ROLE_ARN = re.compile(r"acs:ram::([^:/]+):role/([A-Za-z0-9._-]{1,64})\Z")
_SEED_KEYS = {"policies", "policy", "trust", "description"}


def trust_of_service(service: str) -> str:
    """A trust policy that lets one cloud service assume the role (reference/companions.md §2.4)."""
    statement = {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": [service]}}
    return msgspec.json.encode({"Statement": [statement], "Version": "1"}).decode()


def role_arn(account_id: str, role_name: str) -> str:
    """ARNs write role names in lower case, whatever the role was called when it was made."""
    return f"acs:ram::{account_id}:role/{role_name.lower()}"


def parse_role_arn(arn: str) -> tuple[str, str] | None:
    """Account id and lower-case role name, or None when this is no role's ARN."""
    match = _ROLE_ARN.match(arn)
    return (match[1], match[2].lower()) if match else None


class Roles:
    """The roles of all accounts, over the catalog. Reads are from memory and belong on the event loop's thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def get(self, account_id: str, role_name: str) -> Role | None:
        record = self._catalog.get(records.ROLE, account_id, role_name.lower())
        return record.document if record else None

    def documents_of(self, principal: Principal) -> list[str]:
        """The policies of a role's session. None once the role was deleted, also when one of its name was made anew."""
        role = self.get(principal.account_id, principal.role)
        if principal.kind is not PrincipalKind.ROLE or role is None or role.role_id != principal.role_id:
            return []
        return self._documents(principal.account_id, role)

    def assumable(self, arn: str, service: str) -> Role | None:
        """The role, if it exists and trusts the service. For services only the trust policy matters."""
        parsed = parse_role_arn(arn)
        role = self.get(*parsed) if parsed else None
        if role is None:
            return None
        question = Question(action="sts:AssumeRole", resource=arn, context={}, caller=("Service", service))
        return role if parse_resource_policy(role.trust_policy).decide(question) is Decision.ALLOW else None

    def require_assumable(self, arn: str) -> None:
        """For a role that is written into a service. Raises Unusable unless functions can act in it."""
        if self.assumable(arn, FUNCTION_COMPUTE) is None:
            raise Unusable(
                f"role '{arn}' cannot be assumed: expected acs:ram::<account>:role/<name> of a role that exists and "
                f"trusts {FUNCTION_COMPUTE}"
            )

    async def put(self, account_id: str, role: Role) -> None:
        """Creates or replaces. Raises MalformedPolicy for a trust policy that cannot be read."""
        parse_resource_policy(role.trust_policy)
        await self._catalog.edit(lambda tx: tx.put(records.ROLE, account_id, role.role_name.lower(), role))

    async def put_policy(self, account_id: str, policy: Policy) -> None:
        """Creates or replaces a custom policy. Raises MalformedPolicy."""
        parse(policy.document)
        await self._catalog.edit(lambda tx: tx.put(records.POLICY, account_id, policy.policy_name, policy))

    async def delete(self, account_id: str, role_name: str) -> None:
        await self._catalog.edit(lambda tx: tx.delete(records.ROLE, account_id, role_name.lower()))

    async def seed(self, account_id: str, roles: Mapping[str, Any]) -> None:
        """At an account's first start, and never again: the default role and those of `[roles]` in sesame.toml.

        `{"uploader": {"policies": ["AliyunOSSFullAccess"], "policy": {…document…}, "trust": {…}, "description": "…"}}`;
        a role's own `policy` becomes a custom policy called as the role. Raises ConfigurationError.
        """
        default = new_role(DEFAULT_ROLE, DEFAULT_ROLE_POLICIES, "May use OSS and Log Service")
        seeds = [(default, None)] + [_seed_of(name, table) for name, table in roles.items()]

        def apply(tx: Transaction) -> None:
            if tx.get(records.SEED, "", account_id) is not None:
                return
            for role, policy in seeds:
                tx.put(records.ROLE, account_id, role.role_name.lower(), role)
                if policy is not None:
                    tx.put(records.POLICY, account_id, policy.policy_name, policy)
            tx.put(records.SEED, "", account_id, Seed(roles=tuple(role.role_name for role, _ in seeds)))

        await self._catalog.edit(apply)

    def _documents(self, account_id: str, role: Role) -> list[str]:
        """A name that is attached but gone grants nothing."""
        documents = []
        for name in role.policies:
            custom = self._catalog.get(records.POLICY, account_id, name)
            document = custom.document.document if custom else SYSTEM_POLICIES.get(name)
            if document is not None:
                documents.append(document)
        return documents


def new_role(name: str, policies: Sequence[str], description: str = "", *, trust: str | None = None) -> Role:
    """A role with a fresh id; trusted by Function Compute unless `trust` says otherwise."""
    return Role(
        role_name=name,
        role_id="3" + "".join(secrets.choice("0123456789") for _ in range(17)),
        trust_policy=trust or trust_of_service(FUNCTION_COMPUTE),
        policies=tuple(policies),
        description=description,
    )


def _seed_of(name: str, table: Any) -> tuple[Role, Policy | None]:
    where = f"[roles.{name}] in sesame.toml"
    if not _ROLE_NAME.match(name):
        raise ConfigurationError(f"{where}: a role's name is 1 to 64 of letters, digits, '.', '_' and '-'")
    if not isinstance(table, Mapping) or table.keys() - _SEED_KEYS:
        raise ConfigurationError(f"{where}: expected a table with any of {', '.join(sorted(_SEED_KEYS))}")
    attached = table.get("policies", [])
    if not isinstance(attached, list) or not all(isinstance(name, str) for name in attached):
        raise ConfigurationError(f"{where}: policies is {attached!r}; expected a list of names of policies")
    unknown = [n for n in attached if n not in SYSTEM_POLICIES]
    if unknown:
        raise ConfigurationError(f"{where}: no system policy {unknown[0]!r}; there are {', '.join(SYSTEM_POLICIES)}")
    try:
        trust = _document(table["trust"]) if "trust" in table else None
        if trust is not None:
            parse_resource_policy(trust)
        own = None
        if "policy" in table:
            own = Policy(policy_name=name, document=_document(table["policy"]), description=f"Own policy of {name}")
            parse(own.document)
    except MalformedPolicy as exc:
        raise ConfigurationError(f"{where}: {exc}") from exc
    names = (*attached, name) if own else tuple(attached)
    return new_role(name, names, str(table.get("description", "")), trust=trust), own


def _document(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
