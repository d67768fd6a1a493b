"""The strings that OSS's signatures V1, V2 and V4 cover, and V2's signature.

Called by `oss.auth` to verify requests, and by code that creates presigned URLs. Pure functions of a `Request`,
without keys or clock (reference/companions.md §1.3–1.6). `identity.signatures` computes V1 and V4.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from sesame.identity.signatures import Scope
from sesame.oss.request import Request

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

# Supported query parameters that V1 signs (reference/companions.md §1.3).
SERVED = frozenset(
    """
    response-content-type response-content-language response-cache-control response-content-encoding
    response-expires response-content-disposition logging acl uploadId uploads partNumber delete website
    location objectMeta cors lifecycle referer stat bucketInfo append position security-token live
    symlink tagging encryption versions versioning versionId policy requestPayment x-oss-request-payer
    continuation-token publicAccessBlock bucketArchiveDirectRead restore cleanRestoredObject
    """.split()  # noqa: SIM905
)
# Unsupported query parameters that some SDK signs: they are refused, signed or not.
NOT_SERVED = frozenset(
    """
    group link objectInfo qos comp status vod startTime endTime x-oss-process callback callback-var
    x-oss-traffic-limit qosInfo asyncFetch sequential inventory inventoryId worm wormId wormExtend replication
    replicationLocation replicationProgress transferAcceleration cname metaQuery x-oss-ac-source-ip
    x-oss-ac-subnet-mask x-oss-ac-vpc-id x-oss-ac-forward-allow resourceGroup style styleName x-oss-async-process
    regionList x-oss-write-get-object-response httpsConfig redundancyTransition
    x-oss-target-redundancy-type x-oss-redundancy-transition-taskid accessPoint accessPointPolicy
    x-oss-access-point-name requesterQosInfo qosRequester resourcePoolInfo resourcePool resourcePoolBuckets
    cloudboxes objectWorm policyStatus overwriteConfig userDefinedLogFieldsConfig img
    """.split()  # noqa: SIM905
)
# Query parameters that V1 does not sign: clients may add them after signing.
UNSIGNED_IN_V1 = frozenset(
    """
    prefix delimiter marker max-keys encoding-type list-type start-after fetch-owner key-marker upload-id-marker
    version-id-marker max-uploads max-parts part-number-marker tag-key tag-value regions
    """.split()  # noqa: SIM905
)
_V1_CREDENTIAL_PARAMETERS = frozenset({"OSSAccessKeyId", "Expires", "Signature"})


def strings_to_sign_v1(request: Request, date: str) -> list[bytes]:
    """The strings that the client may have signed, the most likely first. `date`: the date header, or a link's Expires.

    The SDKs' lists of sub-resources differ, so unsupported parameters may be signed or not: `oss.routes` refuses them
    anyway. Supported ones are always signed.
    """
    known = frozenset(request.query) & (SERVED | NOT_SERVED)
    others = frozenset(request.query) - known - UNSIGNED_IN_V1 - _V1_CREDENTIAL_PARAMETERS
    valueless = frozenset(name for name in others if not request.query[name])
    readings = (known, known | valueless, known | others, known & SERVED, known | ({"regions"} & request.query.keys()))
    return [_string_to_sign_v1(request, date, signed) for signed in dict.fromkeys(readings)]


def _string_to_sign_v1(request: Request, date: str, signed: Iterable[str]) -> bytes:
    resource = f"/{request.bucket}/{request.key}" if request.bucket else "/"
    items = [f"{name}={value}" if (value := request.query[name]) else name for name in sorted(signed)]
    if items:
        resource += "?" + "&".join(items)
    head = [request.method, request.header("content-md5"), request.header("content-type"), date]
    return ("\n".join(head) + "\n" + _header_lines(request.headers, ()) + resource).encode()


def string_to_sign_v2(request: Request, date: str, additional_headers: Iterable[str]) -> bytes:
    additional = sorted(additional_headers)
    resource = quote(f"/{request.bucket}/{request.key}" if request.bucket else "/", safe="")
    query = canonical_query({n: v for n, v in request.query.items() if n != "x-oss-signature"})
    head = [request.method, request.header("content-md5"), request.header("content-type"), date]
    tail = ";".join(additional) + "\n" + resource + ("?" + query if query else "")
    return ("\n".join(head) + "\n" + _header_lines(request.headers, additional) + tail).encode()


def sign_v2(secret: str, string_to_sign: bytes) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), string_to_sign, hashlib.sha256)).decode()


def string_to_sign_v4(request: Request, date: str, scope: Scope, additional_headers: Iterable[str]) -> bytes:
    """`date` is in the format of `x-oss-date`. The canonical path always contains the bucket."""
    additional = sorted(additional_headers)
    path = quote(f"/{request.bucket}/{request.key}" if request.bucket else "/", safe="/")
    query = canonical_query({n: v for n, v in request.query.items() if n != "x-oss-signature"})
    payload = request.header("x-oss-content-sha256", UNSIGNED_PAYLOAD)
    headers = _header_lines(request.headers, ("content-type", "content-md5", *additional))
    canonical = "\n".join([request.method, path, query, headers, ";".join(additional), payload])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"OSS4-HMAC-SHA256\n{date}\n{scope}\n{digest}".encode()


def canonical_query(query: Mapping[str, str]) -> str:
    encoded = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in query.items())
    return "&".join(f"{name}={value}" if value else name for name, value in encoded)


def _header_lines(headers: Mapping[str, str], others: Iterable[str]) -> str:
    """Every `x-oss-` header and those in `others`, one per line, sorted by name."""
    wanted = frozenset(others)
    lines = sorted((n, v) for n, v in headers.items() if n.startswith("x-oss-") or n in wanted)
    return "".join(f"{name}:{value}\n" for name, value in lines)
