"""The definition of a role: its attached policies, its own policy and its trust, from `[roles]` or `sesame roles add`.

Used by `identity.roles` for each role that is created.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from sesame.identity.policy.evaluator import MalformedPolicy, parse, parse_resource_policy
from sesame.identity.policy.system_policies import SYSTEM_POLICIES
from sesame.model.errors import ConfigurationError, Unusable
from sesame.model.role import SESSION_S_DEFAULT, SESSION_S_MAX, SESSION_S_MIN

POLICIES_MAX = 20
DESCRIPTION_CHARS_MAX = 1024
# Clients take `.` and `..` out of paths.
_ROLE_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,64}\Z")
_TABLE_KEYS = {"policies", "policy", "trust", "description", "max_session_duration"}


class RoleDefinition(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """`policies` names system policies; `policy` and `trust_policy` are JSON text, "" for none;
    `max_session_duration` is in seconds.

    Without a trust policy, Function Compute may assume the role.
    """

    role_name: str
    policies: tuple[str, ...] = ()
    policy: str = ""
    trust_policy: str = ""
    description: str = ""
    max_session_duration: int = SESSION_S_DEFAULT


def check(definition: RoleDefinition) -> None:
    """Raises `Unusable` or `MalformedPolicy`, saying what was found and what was expected."""
    if not _ROLE_NAME.match(definition.role_name):
        raise Unusable(
            f"'{definition.role_name[:64]}' is no name of a role: expected 1 to 64 letters, digits, '.', '_' and '-'"
        )
    if definition.policy and definition.role_name in SYSTEM_POLICIES:
        # A role's own policy has the role's name.
        raise Unusable(
            f"the role '{definition.role_name}' with a policy of its own has the name of a system policy, which would "
            "change for every role: choose another name"
        )
    unknown = [name for name in definition.policies if name not in SYSTEM_POLICIES]
    if unknown:
        raise Unusable(f"there is no system policy '{unknown[0][:128]}': there are {', '.join(SYSTEM_POLICIES)}")
    if len(definition.policies) > POLICIES_MAX:
        raise Unusable(f"{len(definition.policies)} policies are named: expected at most {POLICIES_MAX}")
    if len(definition.description) > DESCRIPTION_CHARS_MAX:
        raise Unusable(f"the description is too long: expected at most {DESCRIPTION_CHARS_MAX} characters")
    if not SESSION_S_MIN <= definition.max_session_duration <= SESSION_S_MAX:
        raise Unusable(
            f"the maximum session duration is {definition.max_session_duration} seconds: expected {SESSION_S_MIN} to "
            f"{SESSION_S_MAX}"
        )
    if definition.trust_policy:
        parse_resource_policy(definition.trust_policy)
    if definition.policy:
        parse(definition.policy)


def of_table(name: str, table: Any) -> RoleDefinition:
    """Parses a table of `[roles]` in sesame.toml. Raises `ConfigurationError`, naming the table.

    `{"policies": ["AliyunOSSFullAccess"], "policy": {…document…}, "trust": {…}, "description": "…"}`; the documents may
    also be JSON text.
    """
    where = f"[roles.{name}] in sesame.toml"
    if not isinstance(table, Mapping) or table.keys() - _TABLE_KEYS:
        raise ConfigurationError(f"{where}: expected a table with any of {', '.join(sorted(_TABLE_KEYS))}")
    attached = table.get("policies", [])
    if not isinstance(attached, list) or not all(isinstance(policy, str) for policy in attached):
        raise ConfigurationError(f"{where}: policies is {attached!r}; expected a list of names of policies")
    description = table.get("description", "")
    if not isinstance(description, str):
        raise ConfigurationError(f"{where}: description is {description!r}; expected text")
    duration_s = table.get("max_session_duration", SESSION_S_DEFAULT)
    if not isinstance(duration_s, int) or isinstance(duration_s, bool):
        raise ConfigurationError(f"{where}: max_session_duration is {duration_s!r}; expected a number of seconds")
    definition = RoleDefinition(
        role_name=name,
        policies=tuple(attached),
        policy=_document(table, "policy", where),
        trust_policy=_document(table, "trust", where),
        description=description,
        max_session_duration=duration_s,
    )
    try:
        check(definition)
    except (Unusable, MalformedPolicy) as error:
        raise ConfigurationError(f"{where}: {error}") from error
    return definition


def same_document(one: str, other: str) -> bool:
    """Whether two JSON texts represent the same document."""
    return one == other or bool(msgspec.json.decode(one or "null") == msgspec.json.decode(other or "null"))


def _document(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where}: {key} is {value!r}; expected a table, or its JSON text")
    return msgspec.json.encode(value).decode()
