"""The long names of resources: acs:fc:{region}:{account}:… and acs:ram::{account}:role/… (reference/api.md §2).

Used by `control` and the endpoints wherever a caller names a resource or is told of one.
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
_SERVICE = re.compile(r"(?:acs:fc:[^:/]*:[^:/]*:)?services/([^/.$]+)\Z")


class FunctionArn(msgspec.Struct, frozen=True):
    """A function, in the region and of the account that the ARN names; both may be ""."""

    region: str
    account_id: str
    target: Target


class Arns(msgspec.Struct, frozen=True):
    """Of this account, in this region."""

    region: str
    account_id: str

    def owner(self, owner: str) -> str:
        """Of a service, or of a function that stands alone."""
        return f"{self._prefix}functions/{spoken_owner(owner)}" if stands_alone(owner) else self.service(owner)

    def service(self, service: str) -> str:
        return f"{self._prefix}services/{service}"

    def function(self, service: str, function: str, qualifier: str = "") -> str:
        return self._prefix + function_resource(service, function, qualifier)

    def spoken_function(self, owner: str, function: str, qualifier: str = "") -> str:
        """As the API of 2023-03-30 writes it, also for a function of a service; LATEST is left out."""
        arn = f"{self._prefix}functions/{spoken_function(owner, function)}"
        return arn if qualifier in ("", limits.LATEST) else f"{arn}/{qualifier}"

    def of_target(self, target: Target) -> str:
        return self._prefix + target_resource(target)

    def layer(self, layer: str, version: int) -> str:
        return f"{self._prefix}layers/{layer}/versions/{version}"

    def bucket(self, bucket: str) -> str:
        """As triggers and events name it, with the region's bare name."""
        return f"acs:oss:{self.region}:{self.account_id}:{bucket}"

    def logstore(self, project: str, logstore: str) -> str:
        return f"acs:log:{self.region}:{self.account_id}:project/{project}/logstore/{logstore}"

    def event_rule(self, bus: str, rule: str) -> str:
        return f"acs:eventbridge:{self.region}:{self.account_id}:eventbus/{bus}/rule/{rule}"

    @property
    def _prefix(self) -> str:
        return f"acs:fc:{self.region}:{self.account_id}:"


def function_resource(owner: str, function: str, qualifier: str = "") -> str:
    """A function in policies and ARNs, whichever API names it: what is denied through one is denied through all."""
    if stands_alone(owner):
        return f"functions/{function}/{qualifier}" if qualifier else f"functions/{function}"
    qualified = f"{owner}.{qualifier}" if qualifier else owner
    return f"services/{qualified}/functions/{function}"


def target_resource(target: Target) -> str:
    """As policies name it: LATEST is left out, because it means the same as no qualifier."""
    qualifier = "" if target.qualifier == limits.LATEST else target.qualifier
    return function_resource(target.service, target.function, qualifier)


def parse_service_arn(arn: str) -> str | None:
    """The service's name, from the whole ARN or from `services/{name}`; None when it is no service's."""
    found = _SERVICE.match(arn)
    return None if found is None else found[1]


def parse_function_arn(arn: str) -> FunctionArn | None:
    """A function in any form that the API has for one; None for anything else.

    `acs:fc:{region}:{account}:services/{service}[.{qualifier}]/functions/{function}`, of which the part before
    `services` and its region and account may be missing, and FC 3.0's `functions/{function}[/{qualifier}]` and
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
    """ARNs write role names in lower case, whatever the role was called when it was made."""
    return f"acs:ram::{account_id}:role/{role_name.lower()}"


def parse_role_arn(arn: str) -> tuple[str, str] | None:
    """Account id and lower-case role name, or None when this is no role's ARN."""
    match = _ROLE.match(arn)
    return (match[1], match[2].lower()) if match else None
