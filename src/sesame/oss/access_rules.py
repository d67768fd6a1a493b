"""Enforces a bucket's access settings besides policies and ACLs: public access block, requester pays, referers.

Called by `oss.app` for every request before its operation runs. The rules only deny access, never grant it.
"""

from urllib.parse import urlsplit

from sesame.control.buckets import Buckets
from sesame.identity.authentication import Caller
from sesame.identity.policy.patterns import glob
from sesame.model.bucket import Bucket, RefererRules
from sesame.model.role import PrincipalKind
from sesame.oss.errors import OssError
from sesame.oss.request import Request

REFERER_CHARS_MAX = 2048


def blocks_public_access(buckets: Buckets, bucket: Bucket) -> bool:
    """Whether the bucket or its account forbids ACLs that grant access to everyone."""
    return bucket.blocks_public_access or buckets.account(bucket.account_id).blocks_public_access


def check_public_acl(request: Request, buckets: Buckets, bucket: Bucket) -> None:
    """Raises OssError AccessDenied if the request sets a public ACL that the bucket or its account blocks."""
    for header, kind in (("x-oss-acl", "bucket"), ("x-oss-object-acl", "object")):
        if request.header(header).startswith("public-") and blocks_public_access(buckets, bucket):
            raise OssError("AccessDenied", f"Put public {kind} acl is not allowed.")


def check_payer(request: Request, caller: Caller, bucket: Bucket) -> None:
    """Raises OssError AccessDenied for another account that does not agree to pay, and for anonymous requests."""
    if not bucket.requester_pays or caller.principal.account_id == bucket.account_id:
        return
    payer = request.header("x-oss-request-payer") or request.query.get("x-oss-request-payer", "")
    if caller.principal.kind is PrincipalKind.ANONYMOUS or not payer:
        raise OssError("AccessDenied", "Bucket is requester pays, so the request must name its payer.")


def check_referer(request: Request, bucket: Bucket) -> None:
    """Raises OssError AccessDenied. Exempts requests signed by a header, which come from programs."""
    rules = bucket.referer
    if rules is None or request.header("authorization") or not request.key:
        return
    if not rules.allowed and not rules.refused:
        return
    referer = _compared(rules, request.header("referer")[:REFERER_CHARS_MAX])
    if not referer:
        permitted = rules.allows_empty
    else:
        permitted = not _matches(rules.refused, referer) and (not rules.allowed or _matches(rules.allowed, referer))
    if not permitted:
        raise OssError("AccessDenied", "You are denied by bucket referer policy.")


def _compared(rules: RefererRules, referer: str) -> str:
    if rules.truncates_query or rules.truncates_path:
        referer = referer.partition("?")[0].partition("#")[0]
    if rules.truncates_path:
        try:
            parts = urlsplit(referer)
        except ValueError:
            return referer
        return f"{parts.scheme}://{parts.netloc}"
    return referer


def _matches(patterns: tuple[str, ...], referer: str) -> bool:
    return any(glob(pattern)(referer) for pattern in patterns)
