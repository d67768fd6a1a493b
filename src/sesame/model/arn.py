"""Formats and parses ARNs: acs:fc:{region}:{account}:… and acs:ram::{account}:role/… (reference/api.md §2).

Used by `control` and the endpoints.
"""

import re

import msgspec

from sesame.model import limits
from sesame.model.invocation import Target
from sesame.model.owner import owner_of, spoken_function, spoken_owner, stands_alone

_FUNCTION = re.compile(
    r"(?:acs:fc:([^:/]*):([^:/]*):)?"
    r"(?:services/([^/.$]+)(?:\.([^/]+))?/functions/([^/.]+)|functions/(?:([^/$]+)\$)?([^/$]+)(?:/([^/]+))?)\Z"
)
_ROLE = re.compile(r"acs:ram::([^:/]+):role/([A-Za-z0-9._-]{1,64})\Z")
_SERVICE = re.compile(r"(?:acs:fc:([^:/]*):([^:/]*):)?services/([^/.$]+)\Z")


class FunctionArn(msgspec.Struct, frozen=True):
    """A function, with the region and account of the ARN; both may be ""."""

    region: str
    account_id: str
    target: Target


class Arns(msgspec.Struct, frozen=True):
    """Formats the ARNs of this account's resources in this region."""

    region: str
    account_id: str

    def owner(self, owner: str) -> str:
        """The ARN of a service, or of a function that belongs to none."""
        return f"{self._prefix}functions/{spoken_owner(owner)}" if stands_alone(owner) else self.service(owner)

    def service(self, service: str) -> str:
        return f"{self._prefix}services/{service}"

    def function(self, service: str, function: str, qualifier: str = "") -> str:
        return self._prefix + function_resource(service, function, qualifier)

    def spoken_function(self, owner: str, function: str, qualifier: str = "") -> str:
        """The ARN as API 2023-03-30 writes it, also for a function of a service; LATEST is omitted."""
        arn = f"{self._prefix}functions/{spoken_function(owner, function)}"
        return arn if qualifier in ("", limits.LATEST) else f"{arn}/{qualifier}"

    def of_target(self, target: Target) -> str:
        return self._prefix + target_resource(target)

    def layer(self, layer: str, version: int) -> str:
        return f"{self._prefix}layers/{layer}/versions/{version}"

    def bucket(self, bucket: str) -> str:
        """The ARN as triggers and events write it; the region has no `oss-` prefix."""
        return f"acs:oss:{self.region}:{self.account_id}:{bucket}"

    def log_project(self, project: str) -> str:
        return f"acs:log:{self.region}:{self.account_id}:project/{project}"

    def logstore(self, project: str, logstore: str) -> str:
        return f"{self.log_project(project)}/logstore/{logstore}"

    def event_rule(self, bus: str, rule: str) -> str:
        return f"acs:eventbridge:{self.region}:{self.account_id}:eventbus/{bus}/rule/{rule}"

    def own_service(self, arn: str) -> str | None:
        """The name of a service of this account and region, from a whole ARN or from `services/{name}`."""
        found = _SERVICE.match(arn)
        return found[3] if found is not None and self.are_of(found[1] or "", found[2] or "") else None

    def are_of(self, region: str, account_id: str) -> bool:
        """Whether an ARN with these parts, of which both may be empty, can name a resource here."""
        return region in ("", self.region) and account_id in ("", self.account_id)

    @property
    def _prefix(self) -> str:
        return f"acs:fc:{self.region}:{self.account_id}:"


def function_resource(owner: str, function: str, qualifier: str = "") -> str:
    """The resource name of a function in policies and ARNs.

    All API versions share it, so a Deny applies to them all.
    """
    if stands_alone(owner):
        return f"functions/{function}/{qualifier}" if qualifier else f"functions/{function}"
    qualified = f"{owner}.{qualifier}" if qualifier else owner
    return f"services/{qualified}/functions/{function}"


def target_resource(target: Target) -> str:
    """The resource name that policies use. LATEST is omitted, as it means the same as no qualifier."""
    qualifier = "" if target.qualifier == limits.LATEST else target.qualifier
    return function_resource(target.service, target.function, qualifier)


def parse_function_arn(arn: str) -> FunctionArn | None:
    """Parses every form in which the API writes a function; None for any other text.

    The forms are `acs:fc:{region}:{account}:services/{service}[.{qualifier}]/functions/{function}`, where the part
    before `services`, the region and the account may be missing, and FC 3.0's `functions/{function}[/{qualifier}]` and
    `functions/{service}${function}[/{qualifier}]`.
    """
    found = _FUNCTION.match(arn)
    if found is None:
        return None
    region, account_id, service, qualifier, function, service_3, function_3, qualifier_3 = found.groups()
    if service is None:
        service, qualifier, function = service_3 or owner_of(function_3), qualifier_3, function_3
    return FunctionArn(region or "", account_id or "", Target(service, qualifier or limits.LATEST, function))


def role_arn(account_id: str, role_name: str) -> str:
    """ARNs write role names in lower case, whatever case the role was created with."""
    return f"acs:ram::{account_id}:role/{role_name.lower()}"


def parse_role_arn(arn: str) -> tuple[str, str] | None:
    """Account id and lower-case role name, or None if `arn` names no role."""
    match = _ROLE.match(arn)
    return (match[1], match[2].lower()) if match else None
