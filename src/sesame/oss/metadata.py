"""An object's metadata: from a write's headers to its stored form, and from there to a read's headers.

Called by the object operations. Never touches bytes or rows (reference/companions.md §1.8, §1.11).
"""

import base64
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from sesame.model.bucket import Bucket
from sesame.model.object import ObjectKind, ObjectMeta, StoredObject
from sesame.oss.answers import http_time
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.request import Request

OBJECT_ACLS = ("default", "private", "public-read", "public-read-write")
BUCKET_ACLS = OBJECT_ACLS[1:]
STORAGE_CLASSES = ("Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive")
GZIP_BYTES_MIN = 1024
# These headers describe the stored bytes, not the compressed ones.
UNFIT_FOR_GZIP = ("ETag", "Content-MD5", "x-oss-hash-crc64ecma", "Accept-Ranges")
# The weight of an encoding that the client refuses (RFC 9110 §12.4.2).
_NOT_WANTED = re.compile(r"\s*q=0(\.0{0,3})?\s*\Z", re.IGNORECASE)
_TEXT_TYPES = frozenset(
    {
        "text/plain", "text/html", "text/css", "text/xml", "text/javascript", "application/javascript",
        "application/x-javascript", "application/json", "application/xml", "application/rss+xml", "image/svg+xml",
    }
)  # fmt: skip
DEFAULT_CONTENT_TYPE = "application/octet-stream"
USER_META_PREFIX = "x-oss-meta-"
USER_META_BYTES_MAX = 8 * 1024
PERSISTENT = "x-oss-persistent-headers"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}\Z")
# What a response says by itself, and what belongs to the connection: these names, and those that begin so.
_NOT_PERSISTENT = frozenset(
    {
        "cache-control", "expires", "etag", "last-modified", "accept-ranges", "date", "server", "connection",
        "keep-alive", "transfer-encoding", "trailer", "upgrade", "te", "location", "vary",
    }
)  # fmt: skip
_NOT_PERSISTENT_PREFIXES = ("x-oss-", "content-", "proxy-", "access-control-")
TAGS_MAX = 10
_TAG_KEY = re.compile(r"[\w +=.:/-]{1,128}\Z")
_TAG_VALUE = re.compile(r"[\w +=.:/-]{0,256}\Z")
_STORED = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires")
_OVERRIDES = {
    "response-content-type": "Content-Type",
    "response-content-language": "Content-Language",
    "response-expires": "Expires",
    "response-cache-control": "Cache-Control",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
}


def meta_of(request: Request, bucket: Bucket) -> ObjectMeta:
    """Raises OssError InvalidArgument, or NotImplemented for server-side encryption, which Sesame does not do."""
    if request.header("x-oss-server-side-encryption"):
        raise OssError("NotImplemented", details={"Header": "x-oss-server-side-encryption"})
    return ObjectMeta(
        headers=headers_of(request),
        acl=one_of(request, "x-oss-object-acl", OBJECT_ACLS),
        storage_class=one_of(request, "x-oss-storage-class", (bucket.storage_class, *STORAGE_CLASSES)),
        tags=parse_tags(request.header("x-oss-tagging")),
    )


def headers_of(request: Request) -> dict[str, str]:
    user = {name: value for name, value in request.headers.items() if name.startswith(USER_META_PREFIX)}
    said = {name: request.headers[name] for name in _STORED if request.header(name)}
    return with_persistent({"content-type": DEFAULT_CONTENT_TYPE, **said, **user}, request)


def with_persistent(headers: Mapping[str, str], request: Request) -> dict[str, str]:
    """These headers of an object with the writer's own. Raises OssError InvalidArgument, also if they are too long."""
    found = {**headers, **_persistent_of(request)}
    user = [(name, value) for name, value in found.items() if name not in _STORED]
    size = sum(len(name.encode()) + len(value.encode()) for name, value in user)
    if size > USER_META_BYTES_MAX:
        raise invalid_argument(USER_META_PREFIX, str(size), "The size of user metadata exceeds 8 KB.")
    return found


def _persistent_of(request: Request) -> dict[str, str]:
    """The header with headers of the writer's own, as it is stored. Raises OssError InvalidArgument."""
    text = request.header(PERSISTENT)
    if not text:
        return {}
    try:
        named = _persistent(text)
    except ValueError as error:
        raise invalid_argument(PERSISTENT, text[:256]) from error
    for name, value in named:
        low = name.lower()
        own = low in _NOT_PERSISTENT or low.startswith(_NOT_PERSISTENT_PREFIXES)
        if own or not _HEADER_NAME.match(name) or not value.isprintable():
            raise invalid_argument(PERSISTENT, f"{name}: {value}"[:256])
    return {PERSISTENT: text}


def _persistent(text: str) -> list[tuple[str, str]]:
    """`name:base64(value),…`. Raises ValueError."""
    pairs = [item.strip().split(":", 1) for item in text.split(",")]
    return [(name, base64.b64decode(value, validate=True).decode()) for name, value in pairs]


def one_of(request: Request, header: str, allowed: tuple[str, ...]) -> str:
    """The header's value; without the header, the first of `allowed`. Raises OssError InvalidArgument."""
    value = request.header(header) or allowed[0]
    if value not in allowed:
        raise invalid_argument(header, value)
    return value


def parse_tags(text: str) -> dict[str, str]:
    """Parses `TagA=A&TagB=B`, percent-encoded. Raises OssError InvalidArgument."""
    if not text:
        return {}
    tags: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name in tags:
            raise invalid_argument("x-oss-tagging", text)
        tags[name] = value
    check_tags(tags)
    return tags


def check_tags(tags: Mapping[str, str]) -> None:
    """Tags consist of letters, digits, spaces and `+-=._:/`. Raises OssError InvalidArgument."""
    sound = all(_TAG_KEY.match(name) and _TAG_VALUE.match(value) for name, value in tags.items())
    if len(tags) > TAGS_MAX or not sound:
        raise invalid_argument("Tagging", str(dict(tags)))


def object_headers(stored: StoredObject, kind_of_bytes: ObjectKind) -> dict[str, str]:
    """The headers of GET and HEAD, without the length. An object written in one request has its MD5 as ETag."""
    headers = dict(_persistent(stored.meta.headers[PERSISTENT])) if PERSISTENT in stored.meta.headers else {}
    headers |= {_wire_name(name): value for name, value in stored.meta.headers.items() if name != PERSISTENT}
    headers |= brief_headers(stored)
    headers["Accept-Ranges"] = "bytes"
    headers["x-oss-object-type"] = stored.kind.value
    headers["x-oss-storage-class"] = stored.meta.storage_class
    if kind_of_bytes is ObjectKind.NORMAL:
        headers["Content-MD5"] = base64.b64encode(bytes.fromhex(stored.etag)).decode()
    if stored.kind is ObjectKind.APPENDABLE:
        headers["x-oss-next-append-position"] = str(stored.size)
    if stored.meta.tags:
        headers["x-oss-tagging-count"] = str(len(stored.meta.tags))
    return headers


def brief_headers(stored: StoredObject) -> dict[str, str]:
    """The headers of GetObjectMeta. The CRC covers the whole object, even for byte ranges."""
    return {
        "ETag": f'"{stored.etag}"',
        "Last-Modified": http_time(stored.modified_at),
        "x-oss-hash-crc64ecma": str(stored.crc64),
    }


def is_compressible(request: Request, stored: StoredObject) -> bool:
    """Whether to compress: text of at least 1 KB, without an encoding, for clients that accept gzip (§1.11)."""
    asked = {
        name.strip().lower()
        for name, _, weight in (item.partition(";") for item in request.header("accept-encoding").split(","))
        if not _NOT_WANTED.match(weight)
    }
    kind = stored.meta.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoded = "content-encoding" in stored.meta.headers
    return "gzip" in asked and kind in _TEXT_TYPES and stored.size >= GZIP_BYTES_MIN and not encoded


def overrides(request: Request, *, anonymous: bool) -> dict[str, str]:
    """`response-…` parameters override stored headers in this answer. Raises OssError InvalidRequest if anonymous."""
    wanted = {header: request.query[name] for name, header in _OVERRIDES.items() if request.query.get(name)}
    if wanted and anonymous:
        raise OssError("InvalidRequest", "Request specific response headers cannot be used for anonymous requests.")
    if any(ord(char) < 32 for value in wanted.values() for char in value):
        raise OssError("InvalidArgument", "A response header cannot hold control characters.")
    return wanted


def _wire_name(name: str) -> str:
    return name if name.startswith("x-oss-") else "-".join(part.capitalize() for part in name.split("-"))
