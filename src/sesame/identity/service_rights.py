"""What Function Compute itself may do in a service's role, such as invoking a destination.

Used by `_async`. The permissions are the same as for a function with the role's credentials.
"""

from collections.abc import Callable

from sesame.identity.authentication import Caller
from sesame.identity.authorization import Authorization
from sesame.identity.facts import facts_of_sesame
from sesame.identity.roles import FUNCTION_COMPUTE, Roles, parse_role_arn
from sesame.model.errors import Forbidden
from sesame.model.owner import owner_phrase, spoken_owner
from sesame.model.role import Principal, PrincipalKind


class ServiceRights:
    """`wall_clock` returns Unix seconds."""

    def __init__(self, roles: Roles, authorization: Authorization, wall_clock: Callable[[], float]) -> None:
        self._roles = roles
        self._authorization = authorization
        self._wall_clock = wall_clock

    def objection(self, service: str, role_arn: str, action: str, resource: str) -> str:
        """Why the service's role does not allow `action` on `resource` (an ARN); "" if it does.

        POLICY: without a role nothing is checked, because the caller who set the destination had the permission to
        invoke it.
        """
        if not role_arn:
            return ""
        role, parsed = self._roles.assumable(role_arn, FUNCTION_COMPUTE), parse_role_arn(role_arn)
        if role is None or parsed is None:
            return f"role '{role_arn}' of {owner_phrase(service)} does not exist or does not trust {FUNCTION_COMPUTE}"
        session = spoken_owner(service)
        principal = Principal(PrincipalKind.ROLE, parsed[0], role=role.role_name, role_id=role.role_id, session=session)
        try:
            facts = facts_of_sesame(self._wall_clock())
            self._authorization.require(Caller(principal, "", ""), action, resource, facts)
        except Forbidden:
            return f"role '{role.role_name}' of {owner_phrase(service)} does not allow {action} on {resource}"
        return ""
