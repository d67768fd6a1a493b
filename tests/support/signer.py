"""A signer of our own and calls below the SDK: what the SDK cannot send, and answers as they are on the wire.

Used by the journeys. Written from reference/api.md §1.1 alone: it shares no code with what it is tested against.
"""

import base64
import hashlib
import hmac
import socket
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http.client import HTTPConnection
from urllib.parse import unquote, urlsplit

import requests

API = "/2016-08-15"
TIMEOUT_S = 60.0


class Api:
    """The Function Compute api of a server, called with one pair of keys; `clock` is the caller's."""

    def __init__(self, endpoint: str, key_id: str, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._endpoint = endpoint
        self._key_id = key_id
        self._secret = secret

    def signed(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> dict[str, str]:
        """`headers` with date and signature; the path that is signed is the decoded one, without its query."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        sent = {"date": formatdate(self._clock(), usegmt=True), **given}
        ours = sorted(name for name in sent if name.startswith("x-fc-"))
        text = "\n".join((method, sent.get("content-md5", ""), sent.get("content-type", ""), sent["date"]))
        text += "\n" + "".join(f"{name}:{sent[name]}\n" for name in ours) + unquote(path.partition("?")[0])
        digest = hmac.new(self._secret.encode(), text.encode(), hashlib.sha256).digest()
        return {**sent, "authorization": f"FC {self._key_id}:{base64.b64encode(digest).decode()}"}

    def __call__(
        self, method: str, path: str, body: bytes | str = b"", headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """A signed request to `path` below the version; sent as it is, whatever it holds."""
        data = body.encode() if isinstance(body, str) else body
        return self.whole(method, API + path, data, headers)

    def whole(
        self, method: str, path: str, body: bytes | str = b"", headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """The same to a path of any version."""
        signed = self.signed(method, path, headers)
        return requests.request(method, self._endpoint + path, data=body, headers=signed, timeout=TIMEOUT_S)

    def invoke(
        self, service: str, function: str, event: bytes | str = b"", headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        return self("POST", f"/services/{service}/functions/{function}/invocations", event, headers)

    def caller(self, service: str, function: str) -> Callable[[], tuple[int, bytes]]:
        """Calls over one connection that is kept, each signed: for many calls by one thread."""
        path = f"{API}/services/{service}/functions/{function}/invocations"
        connection = self.connection()

        def call() -> tuple[int, bytes]:
            connection.request("POST", path, headers=self.signed("POST", path))
            answer = connection.getresponse()
            return answer.status, answer.read()

        return call

    def connection(self) -> HTTPConnection:
        """One that is not open yet, for requests that are signed one by one."""
        return HTTPConnection(urlsplit(self._endpoint).netloc, timeout=TIMEOUT_S)

    def exchange(self, request: bytes) -> bytes:
        """Every byte that comes back for these bytes, until the server closes the connection."""
        address = urlsplit(self._endpoint)
        with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT_S) as wire:
            wire.sendall(request)
            received = bytearray()
            while part := wire.recv(65536):
                received += part
        return bytes(received)

    def exchange_signed(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[str, dict[str, str], bytes]:
        """One signed request over its own connection: status line, headers with their case, body as on the wire."""
        sent = self.signed(method, API + path, headers)
        if "transfer-encoding" not in sent:
            sent.setdefault("content-length", str(len(body)))
        sent = {"host": urlsplit(self._endpoint).netloc, "connection": "close", **sent}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        answer = self.exchange(f"{method} {API}{path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        top, _, rest = answer.partition(b"\r\n\r\n")
        status, *lines = top.decode("latin-1").split("\r\n")
        return status, dict(line.split(": ", 1) for line in lines), rest
