"""A client of object storage for the command line: uses V1 signatures, and streams whole objects from and to files.

Used by `sesame buckets`. Like any customer, it knows only the address and an access key.
"""

import email.utils
import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlencode, urlsplit
from xml.etree.ElementTree import Element

import defusedxml.ElementTree as ElementTree
import msgspec

from sesame.cli.client import Unreachable
from sesame.cli.server import Key
from sesame.identity.signatures import sign_v1
from sesame.model.errors import SesameError
from sesame.oss.request import Request
from sesame.oss.signature import strings_to_sign_v1

TIMEOUT_S = 60.0
COPY_BYTES = 1024 * 1024
ANSWER_BYTES_MAX = 16 * 1024 * 1024
_NEXT_STEPS = {
    "NoSuchBucket": "`sesame buckets make` makes it; `sesame buckets list` shows those that there are",
    "NoSuchKey": "`sesame buckets list` with the bucket's name shows what is in it",
}


class OssRefused(SesameError):
    """Object storage refused a request. Has its code, message, status and request id."""


class Entry(msgspec.Struct, frozen=True):
    """A bucket (`size` 0) or an object."""

    name: str
    modified: str
    size: int = 0


class OssClient:
    """Uses path-style addresses, such as `http://127.0.0.1:PORT/bucket/key`."""

    def __init__(self, endpoint: str, key: Key) -> None:
        self._endpoint = endpoint
        self._key = key

    def buckets(self) -> Iterator[Entry]:
        root = self._document("GET", "", "", {})
        for each in root.iterfind("Buckets/Bucket"):
            yield Entry(_text(each, "Name"), _text(each, "CreationDate"))

    def make_bucket(self, bucket: str) -> None:
        self._document("PUT", bucket, "", {})

    def objects(self, bucket: str, prefix: str) -> Iterator[Entry]:
        """Yields every object whose key starts with `prefix`, sorted by key."""
        token = ""
        while True:
            query = {"list-type": "2", "prefix": prefix, "max-keys": "1000"}
            if token:
                query["continuation-token"] = token
            root = self._document("GET", bucket, "", query)
            for each in root.iterfind("Contents"):
                yield Entry(_text(each, "Key"), _text(each, "LastModified"), int(_text(each, "Size") or 0))
            token = _text(root, "NextContinuationToken")
            if not token:
                return

    def put(self, bucket: str, key: str, source: Path, content_type: str) -> None:
        with source.open("rb") as file:
            self._send("PUT", bucket, key, {}, body=file, content_type=content_type, size=source.stat().st_size)

    def get(self, bucket: str, key: str, target: IO[bytes]) -> None:
        self._send("GET", bucket, key, {}, target=target)

    def remove(self, bucket: str, key: str) -> None:
        self._document("DELETE", bucket, key, {})

    def _document(self, method: str, bucket: str, key: str, query: dict[str, str]) -> Element:
        data = self._send(method, bucket, key, query)
        try:
            return ElementTree.fromstring(data) if data.strip() else Element("Empty")
        except ElementTree.ParseError as error:
            raise Unreachable(f"{self._endpoint} answered with invalid XML: {error}") from error

    def _send(
        self,
        method: str,
        bucket: str,
        key: str,
        query: dict[str, str],
        *,
        body: IO[bytes] | None = None,
        content_type: str = "",
        size: int = 0,
        target: IO[bytes] | None = None,
    ) -> bytes:
        url = urlsplit(self._endpoint)
        path = "/" + (f"{bucket}/{quote(key, safe='/')}" if bucket else "")
        headers = {"date": email.utils.formatdate(usegmt=True), "content-length": str(size)}
        if content_type:
            headers["content-type"] = content_type
        if self._key.token:
            headers["x-oss-security-token"] = self._key.token
        request = Request(method, bucket, key, query, headers, self._endpoint, "", url.scheme == "https")
        text = strings_to_sign_v1(request, headers["date"])[0]
        headers["authorization"] = f"OSS {self._key.access_key_id}:{sign_v1(self._key.secret, text)}"
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path + (f"?{urlencode(query)}" if query else ""), body, headers)
            answer = connection.getresponse()
            if answer.status >= http.client.BAD_REQUEST:
                raise _refused(answer.status, answer.read(ANSWER_BYTES_MAX))
            if target is None:
                return answer.read(ANSWER_BYTES_MAX)
            while piece := answer.read(COPY_BYTES):
                target.write(piece)
            return b""
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            raise Unreachable(f"{self._endpoint} does not answer: {error}") from error
        finally:
            connection.close()


def _refused(status: int, body: bytes) -> OssRefused:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return OssRefused(f"HTTP {status}: {body[:200].decode('utf-8', 'replace')}")
    said = f"{_text(root, 'Code')}: {_text(root, 'Message')}"
    step = _NEXT_STEPS.get(_text(root, "Code"), "")
    return OssRefused(f"{said} (HTTP {status}, request {_text(root, 'RequestId')})" + (f"; {step}" if step else ""))


def _text(element: Element, name: str) -> str:
    return element.findtext(name) or ""
