"""Checks that the caller has the permission for a request: action, resource and condition keys.

Called by `fc.app`, `fc.web.http_functions` and `fc.exec.endpoint` for every request of an authenticated caller.
"""

from collections.abc import Callable, Mapping

from sesame.fc.auth.actions import Actions
from sesame.fc.auth.request_head import RequestHead
from sesame.fc.auth.same_actions import OTHER_NAMES
from sesame.http.request import Request
from sesame.identity.authentication import Caller
from sesame.identity.authorization import Authorization, Requester
from sesame.identity.facts import RequestFacts
from sesame.model.arn import target_resource
from sesame.model.invocation import Target
from sesame.model.owner import owner_of
from sesame.model.role import PrincipalKind

ServiceTags = Callable[[str], Mapping[str, str]]
"""A service's tags; empty if there is no such service."""

# The bodies of these operations set a condition key. If a policy tests that key, the permission is checked by the
# route (`Requester.confirm`), not from the head alone.
_CONFIRMED_WITH_BODY = frozenset({"fc:CreateService", "fc:UpdateService"})
# The bodies or queries of these operations name the service, so their routes check the permission (`routes.tags`).
_REQUIRED_BY_ROUTE = frozenset(
    {
        "fc:TagResource",
        "fc:UntagResource",
        "fc:GetResourceTags",
        "fc:TagResources",
        "fc:UntagResources",
        "fc:ListTagResources",
        "fc:ChangeResourceGroup",
    }
)
_OF_BODY = "fc:enableserviceinternetaccess"
# Keys in the memory of a head.
_ASKED = "asked"
_ALLOWED = "allowed"
_SECURE_SCHEMES = frozenset({"https", "wss"})


class Permissions:
    """`wall_clock` returns Unix seconds."""

    def __init__(
        self, authorization: Authorization, actions: Actions, tags: ServiceTags, wall_clock: Callable[[], float]
    ) -> None:
        self._authorization = authorization
        self._actions = actions
        self._tags = tags
        self._wall_clock = wall_clock

    def require(self, caller: Caller, head: RequestHead, request: Request, method: str) -> Requester:
        """Raises `Denied` unless the caller may. Unknown paths need no permission: they are answered with 400.

        An operation is allowed by its name in the requested version, but denied by any of its names.
        """
        cached: tuple[Caller, Requester] | None = head.memory.get(_ALLOWED)
        if cached is not None and cached[0] is caller:
            return cached[1]
        facts = self._facts(caller, head, request)
        asked = self._asked(caller, head, request, method)
        if asked is None:
            return Requester(self._authorization, caller, facts, other_names=OTHER_NAMES)
        action, arn, resource = asked
        if action in _REQUIRED_BY_ROUTE:
            return Requester(self._authorization, caller, facts, (action, arn), OTHER_NAMES)
        if caller.principal.kind is not PrincipalKind.ACCOUNT:
            facts = self._with_tags(caller, facts, resource)
        if action not in _CONFIRMED_WITH_BODY or not self._authorization.asks_for(caller, _OF_BODY):
            self._authorization.require(caller, action, arn, facts)
        for other in OTHER_NAMES.get(action, ()):
            self._authorization.require_not_denied(caller, other, arn, facts)
        requester = Requester(self._authorization, caller, facts, (action, arn), OTHER_NAMES)
        if caller.principal.kind is PrincipalKind.ACCOUNT:
            # The permissions of the account's own key depend on no facts and no policy.
            head.memory[_ALLOWED] = (caller, requester)
        return requester

    def require_invoke(self, caller: Caller, head: RequestHead, request: Request, target: Target) -> None:
        """Like `require`, for a request that invokes a function by other means than its invocation path."""
        asked = ("fc:InvokeFunction", target_resource(target))
        facts = self._with_tags(caller, self._facts(caller, head, request), asked[1])
        self._authorization.require(caller, asked[0], self._actions.arn(caller.account_id, asked[1]), facts)

    def _asked(self, caller: Caller, head: RequestHead, request: Request, method: str) -> tuple[str, str, str] | None:
        """Action, ARN and the resource in it; cached for a head that its connection repeats."""
        cached: tuple[str, tuple[str, str, str] | None] | None = head.memory.get(_ASKED)
        if cached is not None and cached[0] == caller.account_id:
            return cached[1]
        found = self._actions.find(method, head.raw_path, request.query)
        asked = None if found is None else (found[0], self._actions.arn(caller.account_id, found[1]), found[1])
        head.memory[_ASKED] = (caller.account_id, asked)
        return asked

    def _facts(self, caller: Caller, head: RequestHead, request: Request) -> RequestFacts:
        return RequestFacts(
            source_ip=request.client[0],
            at=self._wall_clock(),
            secure_transport=request.scheme in _SECURE_SCHEMES,
            user_agent=head.user_agent.decode("latin-1"),
            access_key_id=caller.access_key_id,
            service_keys={},
        )

    def _with_tags(self, caller: Caller, facts: RequestFacts, resource: str) -> RequestFacts:
        """Adds the tags of the service that contains the resource, or of the function if it has no service.

        The account's own key needs no lookup.
        """
        parts = resource.split("/", 2)
        if (
            caller.principal.kind is PrincipalKind.ACCOUNT
            or parts[0] not in ("services", "functions")
            or len(parts) < 2
        ):
            return facts
        service = owner_of(parts[1]) if parts[0] == "functions" else parts[1].partition(".")[0]
        return facts.with_keys({f"acs:ResourceTag/{key}": value for key, value in self._tags(service).items()})
