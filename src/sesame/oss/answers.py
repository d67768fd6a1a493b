"""What an operation answers: a status, headers and bytes or a byte range of an object; and errors as OSS's XML.

Built by the operations, sent by `oss.app`. Objects are streamed, never held whole.
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

# Clients refuse headers of 64 KB; an error that quotes the request back may be longer.
HEADER_XML_BYTES_MAX = 4096
HOST_CHARS_MAX = 255
# oss2 reads 4096 bytes of an error; a longer one has no code for it. Only what was to be signed is quoted whole.
DETAIL_CHARS_MAX = 512


class ByteRange(msgspec.Struct, frozen=True):
    """Bytes of an opened object that are still to be sent, compressed with `gzip`; the sender closes the reader."""

    reader: Reader
    start: int
    length: int
    gzip: bool = False


class Answer(msgspec.Struct, frozen=True):
    """`headers` by their names on the wire. Content-Length is set when it is sent, save where it is given (HEAD)."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes | ByteRange = b""


def xml_answer(name: str, content: xml.Content) -> Answer:
    return Answer(headers={"Content-Type": xml.CONTENT_TYPE}, body=xml.document(name, content))


def error_answer(error: OssError, method: str, request_id: str, host: str) -> Answer:
    """On HEAD, which has no body, the XML is sent in a header: without it 404 could be bucket or key (§1.8).

    There it omits the details when they are long.
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
    """How keys are written into XML: percent-encoded when asked for, since XML cannot hold every character."""
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
