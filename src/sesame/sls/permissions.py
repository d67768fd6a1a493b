"""Checks the caller's rights to what a request to the Log Service does.

Called by `sls.app` for every signed request, and by operations whose body names their resources
(reference/companions.md §3.4).
"""

from collections.abc import Callable, Sequence

from sesame.identity.authentication import Caller
from sesame.identity.authorization import Authorization, Denied
from sesame.identity.facts import NO_SERVICE_FACTS, RequestFacts
from sesame.identity.policy.evaluator import Decision
from sesame.sls.errors import SlsError
from sesame.sls.request import Request


class Permissions:
    """`clock` gives Unix seconds. All resources belong to `account_id` in `region`."""

    def __init__(self, authorization: Authorization, clock: Callable[[], float], region: str, account_id: str) -> None:
        self._authorization = authorization
        self._clock = clock
        self._owner = f"acs:log:{region}:{account_id}"

    def require(self, caller: Caller, request: Request, actions: Sequence[str], resource: str) -> None:
        """Raises SlsError Unauthorized. `resource` is relative to the account, such as `project/p/logstore/l`.

        For some operations the manual names two actions: either one allows it, unless a policy denies the other.
        """
        facts = RequestFacts(
            source_ip=request.client_ip,
            at=self._clock(),
            secure_transport=request.secure,
            user_agent=request.header("user-agent"),
            access_key_id=caller.access_key_id,
            service_keys=NO_SERVICE_FACTS,
        )
        whole = f"{self._owner}:{resource}"
        allowed = False
        for action in actions:
            try:
                self._authorization.require(caller, action, whole, facts)
                allowed = True
            except Denied as denied:
                if denied.decision is Decision.EXPLICIT_DENY:
                    raise _unauthorized(action, whole) from denied
        if not allowed:
            raise _unauthorized(actions[0], whole)


def _unauthorized(action: str, resource: str) -> SlsError:
    return SlsError("Unauthorized", f"denied by sts or ram, action: {action}, resource: {resource}")
