"""Principals, roles and the policies attached to them.

Roles and policies are stored in the catalog and edited by `identity`, which also creates the principals.
Contains no rules: `identity.policy.evaluator` decides what a policy allows.
"""

import enum

import msgspec


class PrincipalKind(enum.Enum):
    ANONYMOUS = "anonymous"
    ACCOUNT = "account"
    ROLE = "role"
    CODE_UPLOAD = "code_upload"


class Principal(msgspec.Struct, frozen=True):
    """The caller. `role`, `role_id`, `session` and `session_policy` (JSON text) are set for a role's session only.

    A code upload is the holder of the credentials from GetTempBucketToken: `session` is the upload's name, and
    `session_policy` lists all its rights. `chain` is set for a function's credentials: the functions that led to it,
    and the function itself last (`model.recursion`).
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
        """Identifies the account or role behind the credentials; stays the same when they are renewed."""
        if self.kind is PrincipalKind.ROLE:
            return f"acs:ram::{self.account_id}:role/{self.role}#{self.role_id}"
        return f"acs:ram::{self.account_id}:{self.kind.value}"

    @property
    def principal_id(self) -> str:
        """The id in events and STS responses (reference/companions.md §2.2): the account, or role id and session."""
        return f"{self.role_id}:{self.session}" if self.kind is PrincipalKind.ROLE else self.account_id


# Of RAM's MaxSessionDuration (companions.md §2.2).
SESSION_S_MIN, SESSION_S_MAX, SESSION_S_DEFAULT = 3600, 43_200, 3600
ANONYMOUS = Principal(kind=PrincipalKind.ANONYMOUS)
# Owns Function Compute's internal data. No account has this id: account ids contain no dot.
FUNCTION_COMPUTE_ACCOUNT = "fc.aliyuncs.com"


class Role(msgspec.Struct, frozen=True, rename="camel"):
    """A role of one account. The record's parent is the account, its name the lower-case `role_name`, as in role ARNs.

    `trust_policy` is JSON text that states who may assume the role; `policies` names system or custom policies.
    A session that AssumeRole creates lasts at most `max_session_duration` seconds.
    """

    role_name: str
    role_id: str
    trust_policy: str
    policies: tuple[str, ...] = ()
    description: str = ""
    max_session_duration: int = SESSION_S_DEFAULT


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """A custom policy of one account (the record's parent): JSON text in the grammar of companions.md §3.1."""

    policy_name: str
    document: str
    description: str = ""


class CodeUpload(msgspec.Struct, frozen=True, rename="camel"):
    """Credentials lent to upload one code package; the record's name is the upload's.

    `lent_to` is the `lasting_name` of the principal that requested them, and only that principal may use the uploaded
    code. Nothing may be written or taken after `expires_at` (Unix seconds), nor after the code was taken, which deletes
    this record.
    """

    bucket_name: str
    lent_to: str
    expires_at: float


class Seed(msgspec.Struct, frozen=True, rename="camel"):
    """Roles that an account was given at a start, so that the next start does not recreate those removed since."""

    roles: tuple[str, ...]


class MasterKey(msgspec.Struct, frozen=True, rename="camel"):
    """The source of temporary credentials: 32 random bytes in hex, created once per installation."""

    key: str
