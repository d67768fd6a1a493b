"""Whether a trigger's invocation role lets the source of its events call the function.

Used when a trigger fires: a role may have been changed or removed since the trigger was made.
"""

from collections.abc import Callable

from sesame.identity.authentication import Caller
from sesame.identity.authorization import Authorization
from sesame.identity.facts import NO_SERVICE_FACTS, RequestFacts
from sesame.identity.roles import FUNCTION_COMPUTE, Roles, parse_role_arn, role_arn
from sesame.model.arn import Arns
from sesame.model.errors import Forbidden
from sesame.model.invocation import Target
from sesame.model.role import Principal, PrincipalKind, Role

SESSION = "sesame-trigger"


class InvocationRoles:
    """`wall` gives Unix seconds. Reads the catalog's memory; calls belong on the event loop's thread."""

    def __init__(self, roles: Roles, authorization: Authorization, arns: Arns, wall: Callable[[], float]) -> None:
        self._roles = roles
        self._authorization = authorization
        self._arns = arns
        self._wall = wall

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
            raise Forbidden(f"the role '{role}' does not exist, or trusts neither {source} nor {FUNCTION_COMPUTE}")
        resource = self._arns.of_target(target)
        self._authorization.require(_session(account_id, found), "fc:InvokeFunction", resource, self._facts())

    def _facts(self) -> RequestFacts:
        """Of a request that Sesame makes to itself."""
        return RequestFacts(
            source_ip="",
            at=self._wall(),
            secure_transport=False,
            user_agent="",
            access_key_id="",
            service_keys=NO_SERVICE_FACTS,
        )


def _session(account_id: str, role: Role) -> Caller:
    principal = Principal(
        kind=PrincipalKind.ROLE, account_id=account_id, role=role.role_name, role_id=role.role_id, session=SESSION
    )
    return Caller(principal, "", "")
