"""Whether a trigger's invocation role lets the source of its events call the function.

Used when a trigger fires, because a role may have been changed or removed since the trigger was made, and by what lists
triggers that do not fire.
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
# What raises the events of a type of trigger here; callers of HTTP triggers have rights of their own.
SOURCES: Mapping[str, str] = {
    configs.OSS: "oss.aliyuncs.com",
    configs.LOG: "log.aliyuncs.com",
    configs.TIMER: FUNCTION_COMPUTE,
}


class InvocationRoles:
    """`wall` gives Unix seconds. Reads the catalog's memory; calls belong on the event loop's thread."""

    def __init__(self, roles: Roles, authorization: Authorization, arns: Arns, wall: Callable[[], float]) -> None:
        self._roles = roles
        self._authorization = authorization
        self._arns = arns
        self._wall = wall

    def objection(self, service: str, function: str, trigger: Trigger) -> str:
        """Why the trigger's role does not let its events call the function as things stand; "" where it does."""
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

        A role that trusts Function Compute serves too, as it is Sesame that raises the event. Without a role ("")
        nothing is asked: the caller that made the trigger had the right to do so.
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
