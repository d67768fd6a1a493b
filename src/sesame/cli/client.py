"""A client of the API 2016-08-15 over HTTP: signs requests, limits their time, and raises for refusals.

Used by the commands that talk to a server. Like any customer, it knows only the server's address and an access key.
"""

import base64
import binascii
import email.utils
import http.client
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from sesame.cli.server import Key, Server
from sesame.fc.auth import signature
from sesame.model.errors import SesameError
from sesame.model.owner import stands_alone

API_VERSION = "2016-08-15"
OWN_PREFIX = "/sesame/"
# The path of the API version whose functions have no service.
STANDING_ALONE_PREFIX = "/2023-03-30"
# The path of the API version whose services can mount buckets.
MOUNTED_BUCKETS_PREFIX = "/2021-04-06"
# Paths with these prefixes are complete.
_WHOLE = (OWN_PREFIX, STANDING_ALONE_PREFIX + "/", MOUNTED_BUCKETS_PREFIX + "/")
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
# A result of 32 MiB, and the same again for its JSON escapes.
ANSWER_BYTES_MAX = 72 * 1024 * 1024
SHOWN_CHARS = 300

NEXT_STEPS = {
    "InvalidAccessKeyID": "the server does not know this key: is it another server's?",
    "SignatureNotMatch": "the secret does not belong to this key, or this machine's clock is wrong",
    "AccessDenied": "the key's role may not do this, or this machine's clock is wrong",
    "ServiceNotFound": "`sesame list` shows what this server has; was it deployed to another one?",
    "FunctionNotFound": "`sesame list` shows what this server has; was it deployed to another service or server?",
    "VersionNotFound": "`sesame publish` makes a version; `sesame show` names those that there are",
    "AliasNotFound": "`sesame alias list` shows those that there are, and `sesame alias set` makes one",
    "TriggerNotFound": "`sesame triggers list` shows those that there are",
}

# For answers in another form, such as an object store's.
NO_FUNCTION_COMPUTE = "what answers there is no Function Compute; `sesame env` shows Sesame's addresses, as FC_ENDPOINT"
NOTHING_LISTENS = "`sesame start` starts a Sesame; where one runs, `sesame env` shows its addresses"


class Unreachable(SesameError):
    """No answer: nothing listens at the address, the request timed out, or the other side does not speak HTTP."""


class Refused(SesameError):
    """The server refused a request. Has its code, message, status, request id, and a next step if one is known."""

    def __init__(self, answer: "Answer") -> None:
        failure = _failure(answer)
        self.status, self.request_id = answer.status, answer.request_id
        self.code, self.message = failure.error_code, failure.error_message
        self.next_step = NEXT_STEPS.get(self.code, "")
        # A status from 500 may come from a proxy in front of the right server.
        if not self.code and not self.request_id and self.status < http.client.INTERNAL_SERVER_ERROR:
            self.next_step = NO_FUNCTION_COMPUTE
        said = f"{self.code}: {self.message}" if self.code else self.message
        where = f"HTTP {self.status}, request {self.request_id}" if self.request_id else f"HTTP {self.status}"
        super().__init__(f"{said} ({where})" + (f"; {self.next_step}" if self.next_step else ""))

    def about(self, what: str) -> "Refused":
        """The same refusal, whose text begins with what was refused: several requests are made by one command."""
        self.args = (f"{what}: {self}",)
        return self

    def known(self) -> dict[str, str | int]:
        """Details besides the message, for a calling program: `status`, `code`, `requestId` …"""
        known = {"code": self.code, "requestId": self.request_id, "nextStep": self.next_step}
        return {"status": self.status, **{name: value for name, value in known.items() if value}}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """`path` starts with a slash and is already encoded.

    The version 2016-08-15 of the API is prefixed, except to Sesame's own paths (`/sesame/…`) and to paths that start
    with a version (`/2023-03-30/…`, `/2021-04-06/…`).
    """

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}
    timeout_s: float = ANSWER_TIMEOUT_S


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of any status. Header names are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def request_id(self) -> str:
        return self.headers.get("x-fc-request-id", "")

    @property
    def error_type(self) -> str:
        """The kind of the function's error; "" unless the function failed."""
        return self.headers.get("x-fc-error-type", "")

    @property
    def log_tail(self) -> bytes:
        try:
            return base64.b64decode(self.headers.get("x-fc-log-result", ""))
        except binascii.Error:
            return b""


class _Failure(msgspec.Struct, rename="pascal"):
    """`code` and `message` are the names in version 2023-03-30."""

    error_code: str = ""
    error_message: str = ""
    code: str = ""
    message: str = ""


class Client:
    """Calls one server with one key, using a new connection for each request."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def invoke(self, service: str, function: str, event: bytes, *, timeout_s: float) -> Answer:
        """Calls `service[.qualifier]/function`, or a function without a service; waits for the answer and its log tail.

        If the function failed, the answer has an `error_type`. Raises `Refused` and `Unreachable`.
        """
        request = Request(
            method="POST",
            path=invocations_path(service, function),
            body=event,
            content_type="application/octet-stream",
            headers={"X-Fc-Log-Type": "Tail", "X-Fc-Invocation-Type": "Sync"},
            timeout_s=timeout_s,
        )
        return self.send(request)

    def ask(self, method: str, path: str, document: object = None) -> Any:
        """Sends a document as JSON; returns the decoded answer, None if it is empty. Raises like `send`."""
        return self.ask_long(method, path, document, timeout_s=ANSWER_TIMEOUT_S)

    def ask_long(self, method: str, path: str, document: object, *, timeout_s: float) -> Any:
        """Like `ask`, with a longer time limit."""
        body = b"" if document is None else msgspec.json.encode(document)
        answer = self.send(Request(method=method, path=path, body=body, timeout_s=timeout_s))
        if not answer.body:
            return None
        try:
            return msgspec.json.decode(answer.body)
        except msgspec.DecodeError as error:
            raise Unreachable(
                f"{self._server.endpoint} answered {method} {path} with what is no JSON: {_shown(answer.body)}"
            ) from error

    def pages(self, path: str, key: str) -> Iterator[Any]:
        """Yields all items of an API list, page by page. Raises like `send`."""
        token = ""
        mark = "&" if "?" in path else "?"
        while True:
            page = self.ask("GET", path + (f"{mark}nextToken={quoted(token)}" if token else "")) or {}
            yield from page.get(key) or []
            token = page.get("nextToken") or ""
            if not token:
                return

    def send(self, request: Request) -> Answer:
        """Sends a request and returns its answer. Raises `Refused` for statuses from 400, and `Unreachable`."""
        answer = self._exchange(request)
        if answer.status >= http.client.BAD_REQUEST:
            raise Refused(answer)
        return answer

    def _exchange(self, request: Request) -> Answer:
        path = request.path if request.path.startswith(_WHOLE) else f"/{API_VERSION}{request.path}"
        url = urlsplit(self._server.endpoint)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
            connection.sock.settimeout(request.timeout_s)
            connection.request(request.method, path, request.body, _signed_headers(self._server.key, request, path))
            response = connection.getresponse()
            body = response.read(ANSWER_BYTES_MAX + 1)
            if response.length and len(body) <= ANSWER_BYTES_MAX:
                raise http.client.IncompleteRead(body, response.length)
        except TimeoutError as error:
            waited_s = CONNECT_TIMEOUT_S if connection.sock is None else request.timeout_s
            raise self._unreachable(f"no answer within {waited_s:g} s") from error
        except ssl.SSLCertVerificationError as error:
            step = "for a certificate of your own name its issuer's file in SSL_CERT_FILE"
            raise self._unreachable(f"its certificate is not accepted: {error.verify_message}; {step}") from error
        except ssl.SSLError as error:
            raise self._unreachable(f"{error.reason or error}; does it speak http:// rather than https://?") from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error or type(error).__name__
            step = f"; {NOTHING_LISTENS}" if isinstance(error, ConnectionRefusedError) else ""
            if isinstance(error, http.client.RemoteDisconnected) and self._server.endpoint.startswith("http://"):
                step = "; does it speak https:// rather than http://?"
            raise self._unreachable(f"{why}{step}") from error
        finally:
            connection.close()
        if len(body) > ANSWER_BYTES_MAX:
            raise Unreachable(f"{self._server.endpoint} answered with more than {ANSWER_BYTES_MAX} bytes")
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(status=response.status, body=body, headers=headers)

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(f"{self._server.endpoint} ({self._server.source}) does not answer: {why}")


def invocations_path(service: str, function: str) -> str:
    """`service` may have a qualifier, also in the form that owns a function without a service."""
    if not stands_alone(service):
        return f"/services/{quoted(service)}/functions/{quoted(function)}/invocations"
    _owner, _dot, qualifier = service.partition(".")
    asked = f"?qualifier={quoted(qualifier)}" if qualifier else ""
    return f"{STANDING_ALONE_PREFIX}/functions/{quoted(function)}/invocations{asked}"


def quoted(name: str) -> str:
    """Quotes a name as one path segment."""
    return quote(name, safe="")


def _signed_headers(key: Key, request: Request, path: str) -> dict[str, str]:
    """The request's headers and those added by the signature (reference/api.md §1.1)."""
    headers = {
        "Date": email.utils.formatdate(usegmt=True),
        "Content-Type": request.content_type,
        "Accept": "application/json",
        **request.headers,
    }
    if key.token:
        headers["X-Fc-Security-Token"] = key.token
    signed = signature.Signed(
        method=request.method.encode(),
        content_md5=b"",
        content_type=request.content_type.encode(),
        date=headers["Date"].encode(),
        fc_headers=signature.canonical_headers(
            (name.lower().encode(), value.encode()) for name, value in headers.items()
        ),
    )
    resource = signature.decoded_path(path.partition("?")[0].encode())
    made = signature.sign(key.secret.encode(), signature.string_to_sign(signed, resource))
    return headers | {"Authorization": f"FC {key.access_key_id}:{made.decode()}"}


def _failure(answer: Answer) -> _Failure:
    """The contents of the API's error body; for another body, its text as the message."""
    try:
        found = msgspec.json.decode(answer.body, type=_Failure)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = _Failure()
    if found.error_code or found.error_message:
        return found
    if found.code or found.message:
        return _Failure(found.code, found.message)
    return _Failure("", _shown(answer.body) or http.client.responses.get(answer.status, "no reason was given"))


def _shown(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]} …"
