"""Which operation a request means, and whether it asks for anything that the operation does not do.

Called by `oss.app` after the signature is checked and before anything is touched. A query item or a header that the
operation does not understand is refused, since dropping it could do the opposite of what was asked; only what pages
append to the links of objects that they read, and headers that are none of OSS's, are dropped, as in the cloud.
"""

from collections.abc import Mapping

from sesame.oss.copying import SOURCE_HEADER
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.operations import BUCKET, COPIES, NEVER_SET, OBJECT, SERVICE, Operation, Table
from sesame.oss.request import NULL_VERSION, Request
from sesame.oss.signature import NOT_SERVED, SERVED, UNSIGNED_IN_V1

CREATES_BUCKET, SETS_BUCKET_ACL = BUCKET["PUT", ""], BUCKET["PUT", "acl"]
_PAYER = "x-oss-request-payer"
# By the parameter that only this form of presigned link has: all that belong to it (reference/companions.md §1.3–1.5).
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
# The last forbids what only some operations do, and these obey it.
_EVERYWHERE = frozenset(
    {"x-oss-date", "x-oss-security-token", "x-oss-content-sha256", _PAYER, "x-oss-forbid-overwrite"}
)
_USER_META = "x-oss-meta-"
_SOURCE_PREFIX = f"{SOURCE_HEADER}-"
# With what the names of OSS's headers begin behind `x-oss-`, those of its answers included, which clients send back.
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
# They would make a write conditional or partial, which no write here is.
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
    # A query item may have an empty name, which is not the "" that stands for the plain operation.
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
    """PutBucket and PutBucketAcl: for them the access key is checked before a missing bucket is reported."""
    if request.method != "PUT" or request.key:
        return False
    return not {name for _, name in BUCKET if name not in ("", "acl")} & request.query.keys()


def _subresource(table: Table, items: "frozenset[str] | set[str]") -> str:
    """The item that chooses the operation. Two of them would be two operations."""
    chosen = sorted({name for _, name in table if name} & items)
    if len(chosen) > 1:
        raise OssError("InvalidArgument", f"{chosen[0]} and {chosen[1]} cannot be asked for together.")
    return chosen[0] if chosen else ""


def _means_nothing(item: str, value: str) -> bool:
    """Whether the item is none of OSS's: what pages append to get past a cache (`?v=2`, `?20261130`), and trackers.

    POLICY: a sub-resource that is not known here is a word without a value, as all are that choose an operation.
    """
    of_oss = item in _WORDS or item.startswith(_PREFIXES)
    return item != "" and not of_oss and (value != "" or not item[0].isalpha())


def _is_repeated(request: Request, header: str) -> bool:
    """Whether a copy says the same of its source and of itself, as the Node.js SDK has it for each of its headers.

    What OSS asks of the source is obeyed, and the rest, such as `x-oss-copy-source-cache-control`, means nothing.
    """
    if SOURCE_HEADER not in request.headers or not header.startswith(_SOURCE_PREFIX) or header not in request.headers:
        return False
    return request.headers[header] == request.headers.get(header.removeprefix(_SOURCE_PREFIX))


def _is_nobodys(header: str) -> bool:
    """Whether OSS has no header like this (`x-oss-user`): it takes part in the signature, and means nothing."""
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
