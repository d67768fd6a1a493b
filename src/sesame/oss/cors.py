"""Applies a bucket's CORS rules: tells browsers whether a page of another origin may use the bucket.

Called by `oss.app` to answer preflight requests (OPTIONS) and to add headers to later answers. Grants no rights: a
page still needs a signature or a public ACL.
"""

from sesame.model.bucket import Bucket, CorsRule
from sesame.oss.answers import Answer
from sesame.oss.errors import OssError
from sesame.oss.request import Request


def preflight(request: Request, bucket: Bucket | None) -> Answer:
    """Answers a preflight request. Raises OssError BadRequest, NoSuchBucket, AccessForbidden."""
    origin, method = request.header("origin"), request.header("access-control-request-method")
    if not origin or not method:
        raise OssError("BadRequest")
    if bucket is None:
        raise OssError("NoSuchBucket", details={"BucketName": request.bucket})
    if not bucket.cors:
        raise OssError("AccessForbidden", "CORSResponse: CORS is not enabled for this bucket.")
    wanted = [name.strip() for name in request.header("access-control-request-headers").split(",") if name.strip()]
    rule = _rule_for(bucket, origin, method)
    if rule is None or not all(_allows_header(rule, name) for name in wanted):
        raise OssError("AccessForbidden")
    headers = _headers(rule, origin)
    if wanted:
        headers["Access-Control-Allow-Headers"] = ", ".join(wanted)
    return Answer(headers=headers)


def headers_for(request: Request, bucket: Bucket | None) -> dict[str, str]:
    """The CORS headers of an answer; empty without an Origin header or a matching rule."""
    if bucket is None or not bucket.cors:
        return {}
    rule = _rule_for(bucket, request.header("origin"), request.method) if request.header("origin") else None
    if rule is not None:
        return _headers(rule, request.header("origin"))
    return {"Vary": "Origin"} if bucket.cors_varies else {}


def _rule_for(bucket: Bucket, origin: str, method: str) -> CorsRule | None:
    """The first rule that matches."""
    for rule in bucket.cors:
        if method in rule.methods and any(_matches(allowed, origin) for allowed in rule.origins):
            return rule
    return None


def _allows_header(rule: CorsRule, name: str) -> bool:
    return any(_matches(allowed, name) for allowed in rule.headers)


def _matches(pattern: str, value: str) -> bool:
    """Matches `value` against a pattern with at most one `*`, ignoring case."""
    before, star, after = pattern.lower().partition("*")
    value = value.lower()
    if not star:
        return value == before
    return len(value) >= len(before) + len(after) and value.startswith(before) and value.endswith(after)


def _headers(rule: CorsRule, origin: str) -> dict[str, str]:
    headers = {
        "Access-Control-Allow-Origin": "*" if "*" in rule.origins else origin,
        "Access-Control-Allow-Methods": ", ".join(rule.methods),
        "Vary": "Origin",
    }
    if rule.exposed:
        headers["Access-Control-Expose-Headers"] = ", ".join(rule.exposed)
    if rule.max_age_s is not None:
        headers["Access-Control-Max-Age"] = str(rule.max_age_s)
    return headers
