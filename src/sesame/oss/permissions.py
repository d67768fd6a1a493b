"""Decides whether a caller may do what he asks: session policy, role, then the ACLs of object and bucket.

Called by `oss.app` for every request and by operations that touch a second object (copy).
Never asks who the caller is: that is settled (reference/companions.md §1.7, §3.3).
"""

from collections.abc import Awaitable, Callable

import msgspec

from sesame.identity.policy.evaluator import Decision
from sesame.identity.roles import Roles
from sesame.model.bucket import Bucket
from sesame.model.role import PrincipalKind
from sesame.oss.answers import xml_time
from sesame.oss.auth import Caller
from sesame.oss.errors import OssError
from sesame.oss.request import Request

_READS = frozenset({"oss:GetObject"})
_WRITES = frozenset({"oss:PutObject", "oss:DeleteObject", "oss:AbortMultipartUpload", "oss:ListParts"})


class Wish(msgspec.Struct, frozen=True):
    """`action` on an object, or with key "" on the bucket, or without a bucket on the account's buckets."""

    action: str
    bucket: Bucket | None = None
    key: str = ""


class Permissions:
    """`object_acl` looks up the ACL of an object, "default" where there is none; `clock` gives Unix seconds."""

    def __init__(
        self,
        roles: Roles,
        object_acl: Callable[[str, str], Awaitable[str]],
        clock: Callable[[], float],
        region: str,
    ) -> None:
        self._roles = roles
        self._object_acl = object_acl
        self._clock = clock
        self._region = region

    async def require(self, caller: Caller, request: Request, wish: Wish) -> None:
        """Raises OssError AccessDenied in the words of what denied it."""
        principal = caller.principal
        owner = wish.bucket.account_id if wish.bucket else principal.account_id
        verdict = self._roles.authorize(
            principal, wish.action, self._resource(owner, wish), self._context(caller, request)
        )
        if verdict.allowed:
            return
        if verdict.source == "session":
            raise OssError("AccessDenied", "Access denied by authorizer's policy.")
        # Nobody spoke against it: for data the ACLs may speak for it.
        if verdict.decision is Decision.IMPLICIT_DENY and await self._allowed_by_acl(wish):
            return
        if principal.kind is PrincipalKind.ANONYMOUS:
            raise OssError("AccessDenied", _anonymous_message(wish))
        message = "You have no right to access this object because of bucket acl." if wish.key else "AccessDenied"
        raise OssError("AccessDenied", message)

    async def _allowed_by_acl(self, wish: Wish) -> bool:
        if wish.bucket is None or not wish.key or wish.action not in _READS | _WRITES:
            return False
        acl = await self._object_acl(wish.bucket.bucket_name, wish.key)
        if acl == "default":
            acl = wish.bucket.acl
        return acl == "public-read-write" or (acl == "public-read" and wish.action in _READS)

    def _resource(self, owner: str, wish: Wish) -> str:
        name = wish.bucket.bucket_name if wish.bucket else "*"
        return f"acs:oss:oss-{self._region}:{owner}:{name}{'/' if wish.key else ''}{wish.key}"

    def _context(self, caller: Caller, request: Request) -> dict[str, str]:
        context = {
            "acs:CurrentTime": xml_time(self._clock()),
            "acs:SecureTransport": "true" if request.secure else "false",
            "acs:SourceIp": request.client_ip,
            "acs:UserAgent": request.header("user-agent"),
            "acs:AccessId": caller.access_key_id,
        }
        if not request.key:
            context["oss:Prefix"] = request.query.get("prefix", "")
            context["oss:Delimiter"] = request.query.get("delimiter", "")
        return context


def _anonymous_message(wish: Wish) -> str:
    if wish.key:
        return "Anonymous user has no right to access this object."
    return "Anonymous access is forbidden for this operation."
