"""Parses bucket, key, decoded query and headers of an OSS request.

Called first by `oss.app`; all later steps use the `Request` created here. Paths are never normalised: `//`, `.` and
`..` are parts of keys (reference/companions.md §1.1).
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from sesame.model import limits
from sesame.oss.errors import OssError

KEY_BYTES_MAX = limits.OBJECT_KEY_BYTES
_PORT = re.compile(r":[0-9]*\Z")
# Public, internal and acceleration hosts, and IPv6 hosts, whose region is a separate label.
_CLOUD_HOST = re.compile(r"(oss(-[a-z0-9-]{1,62})?|[a-z]{2}-[a-z0-9-]{1,62}\.oss)\.aliyuncs\.com\Z")
QUERY_PARAMETERS_MAX = 1000
# The only version of an object in a bucket without versioning.
NULL_VERSION = "null"


class Request(msgspec.Struct, frozen=True):
    """`bucket` is "" for the service itself, `key` "" for a bucket itself.

    `endpoint` is the base URL that the caller used, without the bucket.
    """

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    endpoint: str
    client_ip: str
    secure: bool

    def header(self, name: str, default: str = "") -> str:
        return self.headers.get(name, default)


def parse(scope: dict[str, Any], virtual_hosts: Sequence[str]) -> Request:
    """`virtual_hosts`: names below which a first label names a bucket (`<bucket>.<name>`). Raises OssError."""
    headers = _headers(scope["headers"])
    host = headers.get("host", "")
    query = _query(scope["query_string"])
    raw_path: bytes = scope["raw_path"]
    bucket = bucket_of_host(host, virtual_hosts)
    if bucket is None:
        bucket_part, _, key_part = raw_path.removeprefix(b"/").partition(b"/")
        bucket = _decode(bucket_part, "InvalidBucketName")
    else:
        key_part = raw_path.removeprefix(b"/")
        host = host[len(bucket) + 1 :]
    if bucket and not limits.BUCKET_NAME.match(bucket):
        raise OssError("InvalidBucketName", details={"BucketName": bucket})
    key = _decode(key_part, "InvalidObjectName")
    if key:
        check_key(key)
    client = scope.get("client") or ("", 0)
    return Request(
        method=scope["method"],
        bucket=bucket,
        key=key,
        query=query,
        headers=headers,
        endpoint=f"{scope['scheme']}://{host}",
        client_ip=client[0],
        secure=scope["scheme"] == "https",
    )


def bucket_of_host(host: str, virtual_hosts: Sequence[str]) -> str | None:
    """The bucket named in a Host header; None if the path names it.

    Accepts all names of the cloud besides `virtual_hosts`: a proxy, a hosts file or a resolver may point them to
    Sesame.
    """
    name = _PORT.sub("", host).lower().removesuffix(".")
    bucket, _, base = name.partition(".")
    if base in virtual_hosts:
        return bucket
    return bucket if _CLOUD_HOST.match(base) and not _CLOUD_HOST.match(name) else None


def check_key(key: str) -> None:
    """Keys have 1 to 1023 bytes of UTF-8 and do not start with `/` or a backslash (companions.md §1.11).

    Raises OssError.
    """
    if not key or key.startswith(limits.NOT_FIRST_IN_KEY) or len(key.encode()) > KEY_BYTES_MAX:
        raise OssError("InvalidObjectName", details={"ObjectName": key})


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Decodes headers as UTF-8 if valid, otherwise as Latin-1, which HTTP libraries use for non-ASCII text."""
    headers: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        name = name_bytes.decode("latin-1").lower()
        try:
            value = value_bytes.decode().strip()
        except UnicodeDecodeError:
            value = value_bytes.decode("latin-1").strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _query(raw: bytes) -> dict[str, str]:
    """Parses form data: `+` is a space; `name` and `name=` are equal (§1.2). Repeated names are refused, since one of
    the values would be ignored.
    """
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_PARAMETERS_MAX,
        )
    except ValueError as exc:
        raise OssError("InvalidArgument", "The query string cannot be read.") from exc
    query: dict[str, str] = {}
    for name, value in pairs:
        if name in query:
            raise OssError("InvalidArgument", f"The query item {name} is given more than once.")
        query[name] = value
    return query


def _decode(part: bytes, code: str) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError as exc:
        raise OssError(code) from exc
