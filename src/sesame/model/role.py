"""Who acts and with which rights: principals, roles and the policies attached to them.

Roles and policies are kept in the catalog, edited by `identity`; the doors make principals of what callers proved.
Holds no rule: what a policy allows is decided in `identity.policy.evaluator`.
"""

import enum

import msgspec


class PrincipalKind(enum.Enum):
    ANONYMOUS = "anonymous"
    ROOT = "root"
    ROLE = "role"


class Principal(msgspec.Struct, frozen=True):
    """Who calls. `role`, `role_id`, `session` and `session_policy` (JSON text) are set for a role's session only."""

    kind: PrincipalKind
    account_id: str = ""
    role: str = ""
    role_id: str = ""
    session: str = ""
    session_policy: str | None = None


ANONYMOUS = Principal(kind=PrincipalKind.ANONYMOUS)


class Role(msgspec.Struct, frozen=True, rename="camel"):
    """A role of one account (the record's parent; its name is `role_name` in lower case, as role ARNs write it).

    `trust_policy` is JSON text saying who may assume it; `policies` are names of system or custom policies.
    """

    role_name: str
    role_id: str
    trust_policy: str
    policies: tuple[str, ...] = ()
    description: str = ""


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """A custom policy of one account (the record's parent): JSON text in the grammar of companions.md §3.1."""

    policy_name: str
    document: str
    description: str = ""


class Seed(msgspec.Struct, frozen=True, rename="camel"):
    """Says that an account got its first roles, so that what is deleted later does not come back at the next start."""

    roles: tuple[str, ...]


class MasterKey(msgspec.Struct, frozen=True, rename="camel"):
    """What temporary credentials are derived from: 32 random bytes, hexadecimal; made once for an installation."""

    key: str
