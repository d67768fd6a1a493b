"""Requires the right to what a request asks for: names its action and its resource (reference/companions.md §3.4).

Called by `fc.app`, `fc.web.http_functions` and `fc.exec.endpoint` for every request whose caller is proven.
"""

import re
from collections.abc import Callable, Mapping

from sesame.fc.auth.request_head import RequestHead
from sesame.fc.targets import INVOCATIONS_SUFFIX, VERSION_PREFIX, segment
from sesame.fc.v2016.operations import OPERATIONS, OWN_PREFIX
from sesame.http.request import Request
from sesame.identity.authentication import Caller
from sesame.identity.authorization import Authorization, Requester
from sesame.identity.facts import RequestFacts
from sesame.model import limits
from sesame.model.invocation import Target
from sesame.model.role import PrincipalKind

ServiceTags = Callable[[str], Mapping[str, str]]
"""The tags of a service by its name; none where there is no such service."""

# The body of these says what a condition key asks for. Where a policy tests that key, the route requires the right
# (`Requester.confirm`) and the head does not.
_CONFIRMED_WITH_BODY = frozenset({"fc:CreateService", "fc:UpdateService"})
# The body or the query of these names the service, so the routes require the right (`routes.tags`).
_REQUIRED_BY_ROUTE = frozenset({"fc:TagResource", "fc:UntagResource", "fc:GetResourceTags"})
_OF_BODY = "fc:enableserviceinternetaccess"
_ASKED = "asked"
_LATEST = f".{limits.LATEST}".encode()
_SECURE_SCHEMES = frozenset({"https", "wss"})
_OWN_PREFIX = OWN_PREFIX.encode() + b"/"
# Paths alternate between collections and names; each name stands as a star here.
_ACTIONS = {(each.own, each.method, re.sub(r"{[^}]*}", "*", each.path[1:])): each.name for each in OPERATIONS}
# Parts of a path that are no collection but belong to the resource before them.
_SIDES = frozenset(
    {
        "code", "invocations", "async-invoke-config", "provision-config", "on-demand-config", "binding", "bindings",
        "tempCodeBucketToken", "acl", "exec", "fire", "replay",
    }
)  # fmt: skip


class Permissions:
    """`wall_clock` gives Unix seconds."""

    def __init__(
        self, authorization: Authorization, tags: ServiceTags, region: str, wall_clock: Callable[[], float]
    ) -> None:
        self._authorization = authorization
        self._tags = tags
        self._region = region
        self._wall_clock = wall_clock

    def require(self, caller: Caller, head: RequestHead, request: Request, method: str) -> Requester:
        """Raises `Denied` unless the caller may. Paths without an operation need no right: they are answered 400."""
        facts = self._facts(caller, head, request)
        asked = self._asked(caller, head, method)
        if asked is None:
            return Requester(self._authorization, caller, facts)
        action, arn, resource = asked
        if action in _REQUIRED_BY_ROUTE:
            return Requester(self._authorization, caller, facts, (action, arn))
        if caller.principal.kind is not PrincipalKind.ACCOUNT:
            facts = self._with_tags(caller, facts, resource)
        if action not in _CONFIRMED_WITH_BODY or not self._authorization.asks_for(caller, _OF_BODY):
            self._authorization.require(caller, action, arn, facts)
        return Requester(self._authorization, caller, facts, (action, arn))

    def require_invoke(self, caller: Caller, head: RequestHead, request: Request, target: Target) -> None:
        """The same for a request that calls a function by another way than its own path."""
        service = target.service if target.qualifier == limits.LATEST else f"{target.service}.{target.qualifier}"
        asked = ("fc:InvokeFunction", f"services/{service}/functions/{target.function}")
        facts = self._with_tags(caller, self._facts(caller, head, request), asked[1])
        self._authorization.require(caller, asked[0], self._arn(caller, asked[1]), facts)

    def _asked(self, caller: Caller, head: RequestHead, method: str) -> tuple[str, str, str] | None:
        """Action, ARN and the resource in it; worked out once for a head that its connection repeats."""
        known: tuple[str, tuple[str, str, str] | None] | None = head.memory.get(_ASKED)
        if known is not None and known[0] == caller.account_id:
            return known[1]
        found = action_and_resource(method, head.raw_path)
        asked = None if found is None else (found[0], self._arn(caller, found[1]), found[1])
        head.memory[_ASKED] = (caller.account_id, asked)
        return asked

    def _arn(self, caller: Caller, resource: str) -> str:
        return f"acs:fc:{self._region}:{caller.account_id}:{resource}"

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
        """With the tags of the service that the resource is or belongs to. The account's own key needs no look-up."""
        parts = resource.split("/", 2)
        if caller.principal.kind is PrincipalKind.ACCOUNT or parts[0] != "services":
            return facts
        service = parts[1].partition(".")[0]
        return facts.with_keys({f"acs:ResourceTag/{key}": value for key, value in self._tags(service).items()})


def action_and_resource(method: str, raw_path: bytes) -> tuple[str, str] | None:
    """`fc:InvokeFunction` and `services/s/functions/f`, or None where no operation is known.

    LATEST is left out of the resource, as it means the same as no qualifier: writing it must not evade a policy.
    """
    if method == "POST" and raw_path.endswith(INVOCATIONS_SUFFIX) and (target := _plain_target(raw_path)):
        return "fc:InvokeFunction", target
    own = raw_path.startswith(_OWN_PREFIX)
    parts = [segment(part) for part in raw_path.removeprefix(_OWN_PREFIX if own else VERSION_PREFIX).split(b"/")]
    shape = "/".join(part if index % 2 == 0 else "*" for index, part in enumerate(parts))
    action = _ACTIONS.get((own, "GET" if method == "HEAD" else method, shape))
    if action is None:
        return None
    if len(parts) > 1:
        parts[1] = parts[1].removesuffix("." + limits.LATEST)
    if parts[-1] in _SIDES and len(parts) % 2:
        parts.pop()
    elif len(parts) % 2:
        parts.append("*")
    return "fc:" + action, "/".join(parts)


def _plain_target(raw_path: bytes) -> str:
    """The resource of an invocation, whose path needs no decoding; "" for any other path.

    Invocations are most of all requests, and this costs a fifth of what the table does.
    """
    parts = raw_path.split(b"/")
    if len(parts) != 7 or b"%" in raw_path or parts[2] != b"services" or parts[4] != b"functions":
        return ""
    service = parts[3].removesuffix(_LATEST)
    return f"services/{service.decode('latin-1')}/functions/{parts[5].decode('latin-1')}"
