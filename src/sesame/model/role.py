"""Who acts and with which rights: principals, roles and the policies attached to them.

Roles and policies are kept in the catalog and edited by `identity`, which also makes the principals.
Holds no rule: `identity.policy.evaluator` decides what a policy allows.
"""

import enum

import msgspec


class PrincipalKind(enum.Enum):
    ANONYMOUS = "anonymous"
    ACCOUNT = "account"
    ROLE = "role"
    CODE_UPLOAD = "code_upload"


class Principal(msgspec.Struct, frozen=True):
    """Who calls. `role`, `role_id`, `session` and `session_policy` (JSON text) are set for a role's session only.

    A code upload is the holder of the credentials that GetTempBucketToken lends: `session` is the upload's name, and
    `session_policy` says all that it may do. `chain` is of a function's credentials: the functions that led to it, and
    itself last (`model.recursion`).
    """

    kind: PrincipalKind
    account_id: str = ""
    role: str = ""
    role_id: str = ""
    session: str = ""
    session_policy: str | None = None
    chain: tuple[str, ...] = ()

    @property
    def lasting_name(self) -> str:
        """Names the account or the role behind the credentials, the same when they are renewed."""
        if self.kind is PrincipalKind.ROLE:
            return f"acs:ram::{self.account_id}:role/{self.role}#{self.role_id}"
        return f"acs:ram::{self.account_id}:{self.kind.value}"

    @property
    def principal_id(self) -> str:
        """As events and STS name who acts (reference/companions.md §2.2): the account, or a role's id and session."""
        return f"{self.role_id}:{self.session}" if self.kind is PrincipalKind.ROLE else self.account_id


ANONYMOUS = Principal(kind=PrincipalKind.ANONYMOUS)
# Owns what Function Compute keeps for itself. No account has this id: accounts' ids have no dot.
FUNCTION_COMPUTE_ACCOUNT = "fc.aliyuncs.com"


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


class CodeUpload(msgspec.Struct, frozen=True, rename="camel"):
    """Credentials that were lent to upload one code package; the record's name is the upload's.

    `lent_to` is the lasting name of who asked, the only one who may take the upload. Nothing may be written or taken
    after `expires_at` (Unix seconds), nor once the upload was taken: then this record is gone.
    """

    bucket_name: str
    lent_to: str
    expires_at: float


class Seed(msgspec.Struct, frozen=True, rename="camel"):
    """The roles that an account was given at a start, so that those removed later do not come back at the next."""

    roles: tuple[str, ...]


class MasterKey(msgspec.Struct, frozen=True, rename="camel"):
    """What temporary credentials are derived from: 32 random bytes, hexadecimal; made once for an installation."""

    key: str
