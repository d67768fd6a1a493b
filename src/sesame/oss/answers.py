"""An operation's answer: a status, headers and bytes or a byte range of an object; and errors in OSS's XML.

Built by the operations, sent by `oss.app`. Objects are streamed, never held in memory completely.
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import quote

import msgspec

from sesame.oss import xml
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.request import Request
from sesame.store.objects.reader import Reader

# Clients refuse headers of 64 KB, and an error that quotes the request may be longer.
HEADER_XML_BYTES_MAX = 4096
HOST_CHARS_MAX = 255
# oss2 reads only 4096 bytes of an error and finds no code in a longer one. Only the string to sign is quoted in full.
DETAIL_CHARS_MAX = 512


class ByteRange(msgspec.Struct, frozen=True):
    """Bytes of an open object to send, compressed if `gzip`; the sender closes the reader."""

    reader: Reader
    start: int
    length: int
    gzip: bool = False


class Answer(msgspec.Struct, frozen=True):
    """`headers` are keyed by their names on the wire. Content-Length is added on sending, unless given (HEAD)."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes | ByteRange = b""


def xml_answer(name: str, content: xml.Content) -> Answer:
    return Answer(headers={"Content-Type": xml.CONTENT_TYPE}, body=xml.document(name, content))


def error_answer(error: OssError, method: str, request_id: str, host: str) -> Answer:
    """The XML document of an error. Answers to HEAD have no body, so it is sent in a header: without it, a client
    cannot tell whether the bucket or the key is missing (§1.8). The header omits details that are too long.
    """
    if error.status == 304:
        return Answer(status=304, headers=error.headers)
    said: list[xml.Element] = [
        ("Code", error.code),
        ("Message", str(error)),
        ("RequestId", request_id),
        ("HostId", host[:HOST_CHARS_MAX]),
        ("EC", error.ec),
    ]
    details = [
        (name, value if name.startswith("StringToSign") else value[:DETAIL_CHARS_MAX])
        for name, value in error.details.items()
    ]
    body = xml.document("Error", [*said[:-1], *details, said[-1]])
    headers = {**error.headers, "x-oss-ec": error.ec}
    if method == "HEAD" and len(body) > HEADER_XML_BYTES_MAX:
        body = xml.document("Error", said)
    if method == "HEAD":
        return Answer(error.status, {**headers, "x-oss-err": base64.b64encode(body).decode()})
    return Answer(error.status, {**headers, "Content-Type": xml.CONTENT_TYPE}, body)


def key_encoder(request: Request) -> Callable[[str], str]:
    """How to write keys into XML: percent-encoded on request, since XML cannot represent every character."""
    return (lambda key: quote(key, safe="")) if request.query.get("encoding-type") == "url" else str


def encoding_type(request: Request) -> xml.Element:
    wanted = request.query.get("encoding-type", "")
    if wanted not in ("", "url"):
        raise invalid_argument("encoding-type", wanted)
    return ("EncodingType", wanted) if wanted else None


def xml_time(at: float) -> str:
    """`2026-01-02T03:04:05.000Z`."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def http_time(at: float) -> str:
    """`Fri, 02 Jan 2026 03:04:05 GMT`."""
    return formatdate(int(at), usegmt=True)


def owner(account_id: str) -> xml.Element:
    return ("Owner", [("ID", account_id), ("DisplayName", account_id)])
