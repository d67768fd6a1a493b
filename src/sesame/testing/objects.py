"""A small client of object storage for tests: whole objects in memory, version 1 signatures.

Used by `testing.api`. The command line's client imports the server's modules, which take longer to load than a test
runs.
"""

import base64
import email.utils
import hashlib
import hmac
import http.client
from urllib.parse import quote, urlencode, urlsplit
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree as ElementTree

from sesame.testing.errors import CloudError

TIMEOUT_S = 60.0


class ObjectStore:
    def __init__(self, endpoint: str, access_key_id: str, secret: str) -> None:
        self._host = urlsplit(endpoint).netloc
        self._key_id = access_key_id
        self._secret = secret

    def make_bucket(self, bucket: str) -> None:
        """Does nothing if the bucket exists."""
        self._required("PUT", bucket)

    def put(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        self._required("PUT", bucket, key, body=data, content_type=content_type)

    def get(self, bucket: str, key: str) -> bytes | None:
        """None if the bucket has no such object."""
        status, body = self._send("GET", bucket, key)
        if status == http.client.NOT_FOUND and _code(body) == "NoSuchKey":
            return None
        return _accepted(status, body)

    def delete(self, bucket: str, key: str) -> None:
        self._required("DELETE", bucket, key)

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """The keys, sorted."""
        found: list[str] = []
        marker = ""
        while True:
            query = {"prefix": prefix, "marker": marker, "max-keys": "1000"}
            page: Element = ElementTree.fromstring(self._required("GET", bucket, query=query))
            found += [each.findtext("Key") or "" for each in page.iterfind("Contents")]
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return found

    def _required(
        self, method: str, bucket: str, key: str = "", *, query: dict[str, str] | None = None, body: bytes = b"",
        content_type: str = "",
    ) -> bytes:  # fmt: skip
        return _accepted(*self._send(method, bucket, key, query=query, body=body, content_type=content_type))

    def _send(
        self, method: str, bucket: str, key: str = "", *, query: dict[str, str] | None = None, body: bytes = b"",
        content_type: str = "",
    ) -> tuple[int, bytes]:  # fmt: skip
        date = email.utils.formatdate(usegmt=True)
        signed = f"{method}\n\n{content_type}\n{date}\n/{bucket}/{key}".encode()
        digest = base64.b64encode(hmac.digest(self._secret.encode(), signed, hashlib.sha1)).decode()
        headers = {"Date": date, "Authorization": f"OSS {self._key_id}:{digest}"}
        if content_type:
            headers["Content-Type"] = content_type
        path = f"/{quote(bucket, safe='')}/{quote(key, safe='/')}" + (f"?{urlencode(query)}" if query else "")
        connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise CloudError(f"object storage of the test's Sesame does not answer: {error}") from error
        finally:
            connection.close()


def _accepted(status: int, body: bytes) -> bytes:
    if status >= http.client.BAD_REQUEST:
        raise CloudError(f"object storage refused this: {_code(body) or status}: {_text(body, 'Message')}")
    return body


def _code(body: bytes) -> str:
    return _text(body, "Code")


def _text(body: bytes, name: str) -> str:
    try:
        root: Element = ElementTree.fromstring(body)
    except ParseError:
        return ""
    return root.findtext(name) or ""
