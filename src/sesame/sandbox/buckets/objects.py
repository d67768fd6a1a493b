"""An object storage client for one bucket, using a role's temporary keys.

Used by `buckets.filesystem`, in threads. It accesses object storage like any other client, so permissions, events and
validation are the endpoint's. Every failure is an `OSError`.
"""

import base64
import collections
import email.utils
import errno
import hashlib
import hmac
import http.client
import mimetypes
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from threading import Lock
from typing import IO, NamedTuple
from urllib.parse import quote, unquote, urlencode
from xml.etree.ElementTree import Element

import defusedxml.ElementTree as ElementTree

from sesame.model import limits

# Time without any data: writing or copying a large object can take this long. An instance's end aborts the wait.
TIMEOUT_S = 600.0
# How many idle connections are kept; the endpoint closes those that have been idle for long.
IDLE_MAX = 16
KEY_BYTES_MAX = limits.OBJECT_KEY_BYTES
PIECE_BYTES = 1024 * 1024
_OTHER_TYPE = "application/octet-stream"
_BY_STATUS = {
    400: errno.EINVAL, 403: errno.EACCES, 404: errno.ENOENT, 409: errno.EEXIST, 412: errno.ESTALE, 503: errno.EBUSY,
    507: errno.ENOSPC,
}  # fmt: skip


class Keys(NamedTuple):
    access_key_id: str
    secret: str
    token: str


class Head(NamedTuple):
    """An object's metadata as a file needs it; `modified_at` is in Unix seconds."""

    size: int
    modified_at: float
    etag: str


class Page(NamedTuple):
    """A page of a listing: objects by key, prefixes ending in "/", and the next page's marker, "" on the last page."""

    objects: Mapping[str, Head]
    prefixes: tuple[str, ...]
    marker: str


class Connections:
    """The process's connection pool. `make` returns a socket that is connected to the endpoint."""

    def __init__(self, make: Callable[[], socket.socket]) -> None:
        self._make = make
        self._lock = Lock()
        self._idle: collections.deque[http.client.HTTPConnection] = collections.deque()

    def take(self, *, new: bool = False) -> tuple[http.client.HTTPConnection, bool]:
        """Returns a connection, and whether it has been used before."""
        with self._lock:
            if self._idle and not new:
                return self._idle.pop(), True
        connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_S)
        connection.sock = self._make()
        connection.sock.settimeout(TIMEOUT_S)
        return connection, False

    def give_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_MAX and connection.sock is not None:
                self._idle.append(connection)
                return
        connection.close()


class Bucket:
    """`keys` are the running call's, and change from call to call."""

    def __init__(self, name: str, keys: Keys, connections: Connections) -> None:
        self._name = name
        self.keys = keys
        self._connections = connections

    def head(self, key: str) -> Head:
        headers, _body = self._send("HEAD", key)
        modified = email.utils.parsedate_to_datetime(headers["last-modified"] or "").timestamp()
        return Head(int(headers["content-length"] or 0), modified, headers["etag"] or "")

    def list(self, prefix: str, *, flat: bool = False, marker: str = "", at_most: int = 1000) -> Page:
        """Lists one page; with `flat`, including keys below subdirectories."""
        query = {"prefix": prefix, "max-keys": str(at_most), "encoding-type": "url"}
        query |= {"marker": marker} if marker else {}
        query |= {} if flat else {"delimiter": "/"}
        _headers, body = self._send("GET", "", query)
        try:
            root = ElementTree.fromstring(body)
        except ElementTree.ParseError as error:
            raise OSError(errno.EIO, f"a listing is not XML: {error}") from error
        objects = {unquote(_text(each, "Key")): _listed(each) for each in root.iterfind("Contents")}
        prefixes = tuple(unquote(_text(each, "Prefix")) for each in root.iterfind("CommonPrefixes"))
        return Page(
            objects, prefixes, unquote(_text(root, "NextMarker")) if _text(root, "IsTruncated") == "true" else ""
        )

    def read(self, key: str, start: int, length: int, etag: str) -> bytes:
        """Raises `OSError` ESTALE if the object has been replaced since."""
        headers = {"range": f"bytes={start}-{start + length - 1}", "if-match": etag}
        return self._send("GET", key, headers=headers)[1]

    def download(self, key: str, etag: str, take: Callable[[bytes], object]) -> None:
        """Passes the whole object to `take`, piece by piece."""
        self._send("GET", key, headers={"if-match": etag}, take=take)

    def put(self, key: str, source: IO[bytes] | None = None, size: int = 0) -> None:
        """Uploads the next `size` bytes of `source`, atomically."""
        kind = mimetypes.guess_type(key)[0] or _OTHER_TYPE
        self._send("PUT", key, headers={"content-type": kind}, source=source, size=size)

    def copy(self, source: str, key: str) -> None:
        self._send("PUT", key, headers={"x-oss-copy-source": f"/{self._name}/{quote(source, safe='')}"})

    def delete(self, key: str) -> None:
        self._send("DELETE", key)

    def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        source: IO[bytes] | None = None,
        size: int = 0,
        take: Callable[[bytes], object] | None = None,
    ) -> tuple[http.client.HTTPMessage, bytes]:
        if len(key.encode()) > KEY_BYTES_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        path = f"/{self._name}/{quote(key, safe='/')}" + (f"?{urlencode(query)}" if query else "")
        sent = self._signed(method, key, dict(headers or {}))
        if method == "PUT":
            sent["content-length"] = str(size)
        start = source.tell() if source is not None else 0
        for new in (False, True):
            connection, used = self._connections.take(new=new)
            answered = False
            try:
                connection.request(method, path, _pieces(source, size) if source is not None else None, sent)
                answer = connection.getresponse()
                answered = True
                if take is not None and answer.status < http.client.MULTIPLE_CHOICES:
                    while piece := answer.read(PIECE_BYTES):
                        take(piece)
                    body = b""
                else:
                    body = answer.read()
            except (http.client.HTTPException, ConnectionError) as error:
                connection.close()
                # The endpoint may have closed an idle connection before reading the request.
                if answered or not used:
                    raise OSError(errno.EIO, f"object storage does not answer: {error!r}") from error
                if source is not None:
                    source.seek(start)
                continue
            except BaseException:
                connection.close()
                raise
            self._connections.give_back(connection)
            if answer.status >= http.client.BAD_REQUEST:
                raise _refused(answer, body)
            return answer.headers, body
        raise OSError(errno.EIO, "object storage does not answer")

    def _signed(self, method: str, key: str, headers: dict[str, str]) -> dict[str, str]:
        """Adds OSS's signature V1. None of the query parameters sent here belongs to the signed text."""
        keys = self.keys
        headers["date"] = email.utils.formatdate(usegmt=True)
        if keys.token:
            headers["x-oss-security-token"] = keys.token
        own = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()) if name.startswith("x-oss-"))
        text = f"{method}\n\n{headers.get('content-type', '')}\n{headers['date']}\n{own}/{self._name}/{key}"
        digest = hmac.digest(keys.secret.encode(), text.encode(), hashlib.sha1)
        headers["authorization"] = f"OSS {keys.access_key_id}:{base64.b64encode(digest).decode()}"
        return headers


def _pieces(source: IO[bytes], size: int) -> Iterator[bytes]:
    """The next `size` bytes, in pieces."""
    while size and (piece := source.read(min(size, PIECE_BYTES))):
        size -= len(piece)
        yield piece


def _listed(element: Element) -> Head:
    modified = datetime.fromisoformat(_text(element, "LastModified")).timestamp()
    return Head(int(_text(element, "Size")), modified, _text(element, "ETag"))


def _refused(answer: http.client.HTTPResponse, body: bytes) -> OSError:
    code = message = ""
    if not body and (encoded := answer.getheader("x-oss-err")):
        body = base64.b64decode(encoded)
    if body:
        try:
            root = ElementTree.fromstring(body)
            code, message = _text(root, "Code"), _text(root, "Message")
        except ElementTree.ParseError:
            message = body[:200].decode("utf-8", "replace")
    number = _BY_STATUS.get(answer.status, errno.EIO)
    # `OSError` becomes the subclass for this errno, such as FileNotFoundError.
    return OSError(number, f"{code or answer.status}: {message}")


def _text(element: Element, name: str) -> str:
    return element.findtext(name) or ""
