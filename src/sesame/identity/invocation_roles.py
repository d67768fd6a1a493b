"""Checks whether a trigger's invocation role lets the source of its events call the function.

Used when a trigger fires, because a role may have changed since the trigger was created, and to list triggers that do
not fire.
"""

from collections.abc import Callable, Mapping

from sesame.identity.authentication import Caller
from sesame.identity.authorization import Authorization
from sesame.identity.facts import facts_of_sesame
from sesame.identity.roles import FUNCTION_COMPUTE, Roles, parse_role_arn, role_arn
from sesame.model import limits
from sesame.model import trigger_configs as configs
from sesame.model.arn import Arns
from sesame.model.errors import Forbidden
from sesame.model.invocation import Target
from sesame.model.role import Principal, PrincipalKind, Role
from sesame.model.trigger import Trigger

SESSION = "sesame-trigger"
_INVOKE = "fc:InvokeFunction"
# The service that raises the events of each type of trigger; callers of HTTP triggers have their own permissions.
SOURCES: Mapping[str, str] = {
    configs.OSS: "oss.aliyuncs.com",
    configs.LOG: "log.aliyuncs.com",
    configs.TIMER: FUNCTION_COMPUTE,
}


class InvocationRoles:
    """`wall` returns Unix seconds. Reads the catalog's memory, so it must be called on the event loop's thread."""

    def __init__(self, roles: Roles, authorization: Authorization, arns: Arns, wall: Callable[[], float]) -> None:
        self._roles = roles
        self._authorization = authorization
        self._arns = arns
        self._wall = wall

    def objection(self, service: str, function: str, trigger: Trigger) -> str:
        """Why the trigger's role currently prevents its events from calling the function; "" if it does not."""
        source = SOURCES.get(trigger.trigger_type)
        if source is None:
            return ""
        try:
            self.require(trigger.invocation_role, source, Target(service, trigger.qualifier or limits.LATEST, function))
        except Forbidden as error:
            return str(error)
        return ""

    def require(self, role: str, source: str, target: Target) -> None:
        """Raises `Forbidden` unless `source` (`oss.aliyuncs.com`) may call the target in this role.

        The role may also trust Function Compute instead, as Sesame raises the event. Without a role ("") nothing is
        checked: the creator of the trigger had the permission.
        """
        if not role:
            return
        arn = role if role.startswith("acs:") else role_arn(self._arns.account_id, role)
        account_id, _name = parse_role_arn(arn) or ("", "")
        found = self._roles.assumable(arn, source) or self._roles.assumable(arn, FUNCTION_COMPUTE)
        if found is None:
            trusted = " or ".join(dict.fromkeys((source, FUNCTION_COMPUTE)))
            raise Forbidden(f"its invocation role '{role}' does not exist, or does not trust {trusted}")
        resource = self._arns.of_target(target)
        facts = facts_of_sesame(self._wall())
        try:
            self._authorization.require(_session(account_id, found), _INVOKE, resource, facts)
        except Forbidden as error:
            raise Forbidden(f"its invocation role '{role}' does not allow {_INVOKE} on {resource}") from error


def _session(account_id: str, role: Role) -> Caller:
    principal = Principal(
        kind=PrincipalKind.ROLE, account_id=account_id, role=role.role_name, role_id=role.role_id, session=SESSION
    )
    return Caller(principal, "", "")
