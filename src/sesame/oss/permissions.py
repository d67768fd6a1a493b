"""Checks the caller's rights: first policies, then the ACLs of object and bucket.

Called by `oss.app` for every request and by operations that use a second object, such as copy
(reference/companions.md §1.7, §3.3).
"""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl

import msgspec

from sesame.identity.authentication import Caller
from sesame.identity.authorization import Authorization, Denied, Source
from sesame.identity.facts import RequestFacts
from sesame.identity.policy.evaluator import Decision
from sesame.model.bucket import Bucket
from sesame.model.object import StoredObject
from sesame.model.role import FUNCTION_COMPUTE_ACCOUNT, PrincipalKind
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.request import Request

_READS = frozenset({"oss:GetObject"})
_WRITES = frozenset({"oss:PutObject", "oss:DeleteObject", "oss:AbortMultipartUpload", "oss:ListParts"})
_OBJECT_TAGS = "oss:existingobjecttag/"
TAGS_MAX = 100


class AccessRequest(msgspec.Struct, frozen=True):
    """`action` on an object, with key "" on the bucket, without a bucket on the account's buckets.

    `tags` are those set by a request's body; None if only its header can set tags.
    """

    action: str
    bucket: Bucket | None = None
    key: str = ""
    tags: Mapping[str, str] | None = None


class Permissions:
    """`head_object` looks up an object by bucket and key; `clock` gives Unix seconds."""

    def __init__(
        self,
        authorization: Authorization,
        head_object: Callable[[str, str], Awaitable[StoredObject | None]],
        clock: Callable[[], float],
        region: str,
        *,
        blocks_public_access: Callable[[Bucket], bool],
    ) -> None:
        self._blocks_public_access = blocks_public_access
        self._authorization = authorization
        self._head_object = head_object
        self._clock = clock
        self._region = region

    async def require(self, caller: Caller, request: Request, wanted: AccessRequest) -> None:
        """Raises OssError AccessDenied, with the message for what denied it."""
        owner = wanted.bucket.account_id if wanted.bucket else caller.account_id
        facts = await self._facts(caller, request, wanted)
        try:
            self._authorization.require(caller, wanted.action, self._resource(owner, wanted), facts)
        except Denied as denied:
            if denied.source is Source.SESSION_POLICY:
                raise OssError("AccessDenied", "Access denied by authorizer's policy.") from denied
            # No policy explicitly denies the request, so the ACLs may allow access to data.
            if denied.decision is Decision.IMPLICIT_DENY and await self._allowed_by_acl(wanted):
                return
            raise OssError("AccessDenied", _message(caller, wanted)) from denied

    async def _allowed_by_acl(self, wanted: AccessRequest) -> bool:
        if wanted.bucket is None or not wanted.key or wanted.action not in _READS | _WRITES:
            return False
        if wanted.bucket.account_id == FUNCTION_COMPUTE_ACCOUNT:
            # Code being deployed: the ACL sent with its upload grants nobody access.
            return False
        if self._blocks_public_access(wanted.bucket):
            return False
        stored = await self._head_object(wanted.bucket.bucket_name, wanted.key)
        acl = stored.meta.acl if stored else "default"
        if acl == "default":
            acl = wanted.bucket.acl
        return acl == "public-read-write" or (acl == "public-read" and wanted.action in _READS)

    def _resource(self, owner: str, wanted: AccessRequest) -> str:
        name = wanted.bucket.bucket_name if wanted.bucket else "*"
        return f"acs:oss:oss-{self._region}:{owner}:{name}{'/' if wanted.key else ''}{wanted.key}"

    async def _facts(self, caller: Caller, request: Request, wanted: AccessRequest) -> RequestFacts:
        keys: dict[str, str] = {}
        if not request.key:
            keys["oss:Prefix"] = request.query.get("prefix", "")
            keys["oss:Delimiter"] = request.query.get("delimiter", "")
        if caller.principal.kind is PrincipalKind.ROLE:
            await self._add_tags(keys, caller, request, wanted)
        return RequestFacts(
            source_ip=request.client_ip,
            at=self._clock(),
            secure_transport=request.secure,
            user_agent=request.header("user-agent"),
            access_key_id=caller.access_key_id,
            service_keys=keys,
        )

    async def _add_tags(self, keys: dict[str, str], caller: Caller, request: Request, wanted: AccessRequest) -> None:
        if wanted.bucket is not None:
            keys.update({f"oss:BucketTag/{name}": value for name, value in wanted.bucket.tags.items()})
        sent = _tags_in_header(request) if wanted.tags is None else wanted.tags
        keys.update({f"oss:RequestObjectTag/{name}": value for name, value in sent.items()})
        if wanted.bucket is not None and wanted.key and self._authorization.asks_for(caller, _OBJECT_TAGS):
            stored = await self._head_object(wanted.bucket.bucket_name, wanted.key)
            if stored is not None:
                keys.update({f"{_OBJECT_TAGS}{name}": value for name, value in stored.meta.tags.items()})


def _tags_in_header(request: Request) -> dict[str, str]:
    tagging = request.header("x-oss-tagging")
    try:
        return dict(parse_qsl(tagging, keep_blank_values=True, max_num_fields=TAGS_MAX))
    except ValueError as error:
        raise invalid_argument("x-oss-tagging", tagging[:64]) from error


def _message(caller: Caller, wanted: AccessRequest) -> str:
    if caller.principal.kind is not PrincipalKind.ANONYMOUS:
        return "You have no right to access this object because of bucket acl." if wanted.key else "AccessDenied"
    if wanted.key:
        return "Anonymous user has no right to access this object."
    return "Anonymous access is forbidden for this operation."
