"""Finds the operation of a request, and refuses requests that need something it does not support.

Called by `oss.app` after the signature check, before the request changes anything. Unsupported parameters and headers
are refused, since ignoring one could do the opposite of what was requested. As in the cloud, two kinds are ignored:
parameters that pages append to the links of objects they read, and headers that OSS does not define.
"""

from collections.abc import Mapping

from sesame.oss.copying import SOURCE_HEADER
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.operations import BUCKET, COPIES, NEVER_SET, OBJECT, SERVICE, Operation, Table
from sesame.oss.request import NULL_VERSION, Request
from sesame.oss.signature import NOT_SERVED, SERVED, UNSIGNED_IN_V1

CREATES_BUCKET, SETS_BUCKET_ACL = BUCKET["PUT", ""], BUCKET["PUT", "acl"]
_PAYER = "x-oss-request-payer"
# The parameters of each kind of presigned link (reference/companions.md §1.3–1.5).
_LINK_V1 = frozenset({"OSSAccessKeyId", "Expires", "Signature", "security-token"})
_LINK_V2 = frozenset(
    {
        "x-oss-signature-version", "x-oss-expires", "x-oss-access-key-id", "x-oss-additional-headers",
        "x-oss-signature", "security-token",
    }
)  # fmt: skip
_LINK_V4 = frozenset(
    {
        "x-oss-signature-version", "x-oss-date", "x-oss-expires", "x-oss-credential", "x-oss-additional-headers",
        "x-oss-signature", "x-oss-security-token",
    }
)  # fmt: skip
# `x-oss-forbid-overwrite` forbids something that only some operations do, and those obey it.
_EVERYWHERE = frozenset(
    {"x-oss-date", "x-oss-security-token", "x-oss-content-sha256", _PAYER, "x-oss-forbid-overwrite"}
)
_USER_META = "x-oss-meta-"
_SOURCE_PREFIX = f"{SOURCE_HEADER}-"
# First words, after `x-oss-`, of OSS's request headers and answer headers, since clients send the latter back.
_HEADER_WORDS = frozenset(
    """
    ac access acl additional allow async bucket bypass callback cloudbox cname complete content copy credential date
    delete ec err error expiration expires fetch forbid fwd hash if image last limit live location max meta metadata
    next object overwrite part persistent position prefix process qos range redundancy replication request requester
    resource restore retention sealed security select sequential server signature sse storage style symlink table
    tagging target task traffic transfer transition version vod website worm write
    """.split()  # noqa: SIM905
)
_WORDS = SERVED | NOT_SERVED | UNSIGNED_IN_V1 | _LINK_V1
_PREFIXES = ("x-oss-", "response-")
# These would make a write conditional or partial, which is not supported.
_NOT_FOR_WRITES = (
    "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "content-range",
)  # fmt: skip


def route(request: Request) -> Operation:
    """Raises OssError NotImplemented, MethodNotAllowed, InvalidArgument."""
    table = OBJECT if request.key else BUCKET if request.bucket else SERVICE
    items = request.query.keys() - _link_parameters(request.query) - {_PAYER}
    subresource = _subresource(table, items)
    operation = table.get((request.method, subresource))
    if table is OBJECT and SOURCE_HEADER in request.headers:
        operation = COPIES.get((request.method, subresource), operation)
    understood = operation.query if operation is not None else frozenset()
    # A parameter may have an empty name, which is not the "" of the plain operation in the table.
    reads_content = table is OBJECT and request.method in ("GET", "HEAD") and not subresource
    for item in sorted(items - understood - ({subresource} if subresource else set())):
        if not (reads_content and _means_nothing(item, request.query[item])):
            raise _not_implemented(request, item)
    if operation is None:
        if request.method == "PUT" and table is BUCKET and any(subresource == name for name, *_ in NEVER_SET):
            raise _not_implemented(request, subresource)
        raise OssError("MethodNotAllowed", details={"Method": request.method, "ResourceType": subresource})
    _check_headers(request, operation)
    if request.query.get("versionId", NULL_VERSION) != NULL_VERSION:
        raise OssError("NoSuchVersion", details={"Key": request.key, "VersionId": request.query["versionId"]})
    return operation


def may_create_bucket(request: Request) -> bool:
    """Whether this is PutBucket or PutBucketAcl, whose access key is checked before a missing bucket is reported."""
    if request.method != "PUT" or request.key:
        return False
    return not {name for _, name in BUCKET if name not in ("", "acl")} & request.query.keys()


def _subresource(table: Table, items: "frozenset[str] | set[str]") -> str:
    """The parameter that selects the operation. Refuses two, which would be two operations."""
    chosen = sorted({name for _, name in table if name} & items)
    if len(chosen) > 1:
        raise OssError("InvalidArgument", f"{chosen[0]} and {chosen[1]} cannot be asked for together.")
    return chosen[0] if chosen else ""


def _means_nothing(item: str, value: str) -> bool:
    """Whether OSS does not define the parameter: pages append it to bypass a cache (`?v=2`, `?20261130`) or to track.

    POLICY: a word without a value counts as an unknown sub-resource, since that is how sub-resources are written.
    """
    of_oss = item in _WORDS or item.startswith(_PREFIXES)
    return item != "" and not of_oss and (value != "" or not item[0].isalpha())


def _is_repeated(request: Request, header: str) -> bool:
    """Whether a copy request repeats one of its own headers for its source, as the Node.js SDK does for all of them.

    OSS's conditions on the source are obeyed; other headers, such as `x-oss-copy-source-cache-control`, mean nothing.
    """
    if SOURCE_HEADER not in request.headers or not header.startswith(_SOURCE_PREFIX) or header not in request.headers:
        return False
    return request.headers[header] == request.headers.get(header.removeprefix(_SOURCE_PREFIX))


def _is_nobodys(header: str) -> bool:
    """Whether OSS defines no such header (`x-oss-user`): it is signed but has no effect."""
    return header.removeprefix("x-oss-").partition("-")[0] not in _HEADER_WORDS


def _link_parameters(query: Mapping[str, str]) -> frozenset[str]:
    version = query.get("x-oss-signature-version", "")
    if version:
        return _LINK_V2 if version == "OSS2" else _LINK_V4
    return _LINK_V1 if "Signature" in query else frozenset()


def _check_headers(request: Request, operation: Operation) -> None:
    for name, value in request.headers.items():
        if not name.startswith("x-oss-"):
            continue
        if name.startswith(_USER_META) and operation.user_meta:
            continue
        known = name in operation.headers or name in _EVERYWHERE or _is_repeated(request, name)
        if not known and not (request.key and _is_nobodys(name)):
            raise OssError("NotImplemented", details={"Method": request.method, "Header": name})
        if name == _PAYER and value != "requester":
            raise invalid_argument(name, value)
    if request.query.get(_PAYER, "requester") != "requester":
        raise invalid_argument(_PAYER, request.query[_PAYER])
    if request.method not in ("GET", "HEAD"):
        for name in _NOT_FOR_WRITES:
            if name in request.headers and not _is_repeated(request, f"{_SOURCE_PREFIX}{name}"):
                raise OssError("NotImplemented", details={"Method": request.method, "Header": name})


def _not_implemented(request: Request, item: str) -> OssError:
    return OssError("NotImplemented", details={"Method": request.method, "ResourceType": item})
