"""The OSS endpoint, an ASGI callable: runs each request through parsing, signature, routing, permissions, operation.

Served by `_endpoints` on its own port. Internal failures are logged, and answered without details.
"""

import asyncio
import re
import secrets
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import structlog

from sesame.control.buckets import Buckets
from sesame.http.interface import Answer as HttpAnswer
from sesame.http.interface import Reason, Refusal
from sesame.identity.authentication import Authentication
from sesame.identity.authorization import Authorization
from sesame.model.bucket import Bucket
from sesame.model.errors import CallerError, PlatformError, StoreUnavailable
from sesame.model.full_disk import NEXT_STEP, full_disk_in
from sesame.oss.access_rules import blocks_public_access, check_payer, check_public_acl, check_referer
from sesame.oss.answers import Answer, ByteRange, error_answer, http_time
from sesame.oss.auth import Authenticator
from sesame.oss.body import Body, ClientGone
from sesame.oss.calls import Call, Dependencies
from sesame.oss.cors import headers_for, preflight
from sesame.oss.errors import OssError, as_oss_error
from sesame.oss.permissions import AccessRequest, Permissions
from sesame.oss.request import Request, parse
from sesame.oss.routes import CREATES_BUCKET, SETS_BUCKET_ACL, may_create_bucket, route
from sesame.store.objects.multipart import Uploads
from sesame.store.objects.objects import Objects

SEND_BYTES = 256 * 1024
# Prefers speed to size: most callers are on this machine.
GZIP_LEVEL = 1
SERVER = "AliyunOSS"
_REFUSAL_CODES = {
    Reason.MALFORMED: "InvalidRequest",
    Reason.HEAD_TOO_LARGE: "InvalidRequest",
    Reason.TIMED_OUT: "RequestTimeout",
    Reason.NOT_IMPLEMENTED: "NotImplemented",
    Reason.VERSION: "InvalidRequest",
    Reason.OVERLOADED: "ServiceUnavailable",
}

_FULL = f"The disk of this server is full: {NEXT_STEP}, and try again."

log = structlog.get_logger(__name__)

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class OssDependencies(msgspec.Struct, frozen=True, kw_only=True):
    """`clock` gives Unix seconds; the dates of signatures are compared with `callers_clock`, if given.

    In a Host header below `virtual_hosts`, the first label names a bucket.

    With `strict_region`, V4 signatures for a region other than `region` are refused, as the real service does.
    """

    buckets: Buckets
    objects: Objects
    uploads: Uploads
    authentication: Authentication
    authorization: Authorization
    clock: Callable[[], float]
    region: str
    callers_clock: Callable[[], float] | None = None
    virtual_hosts: tuple[str, ...] = ()
    strict_region: bool = False


class OssEndpoint:
    def __init__(self, parts: OssDependencies) -> None:
        self._clock = parts.clock
        self._virtual_hosts = parts.virtual_hosts
        self._authenticator = Authenticator(
            parts.authentication,
            parts.callers_clock or parts.clock,
            parts.region if parts.strict_region else None,
        )
        objects = parts.objects

        buckets = parts.buckets
        self._dependencies = Dependencies(
            authenticator=self._authenticator,
            buckets=buckets,
            objects=objects,
            uploads=parts.uploads,
            permissions=Permissions(
                parts.authorization,
                objects.head,
                parts.clock,
                parts.region,
                blocks_public_access=lambda bucket: blocks_public_access(buckets, bucket),
            ),
            clock=parts.clock,
            region=parts.region,
        )

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request_id = secrets.token_hex(12).upper()
        started = self._clock()
        try:
            answer, keep = await self._answer(scope, receive, request_id)
        except ClientGone:
            return
        headers = {
            "Server": SERVER,
            "Date": http_time(started),
            "x-oss-request-id": request_id,
            "x-oss-server-time": str(int((self._clock() - started) * 1000)),
            **answer.headers,
        }
        if not keep:
            headers["Connection"] = "close"
        await _send(receive, send, answer, headers)

    def refuse(self, refusal: Refusal) -> HttpAnswer:
        """Answers a request that the HTTP server refused before parsing it, in OSS's form."""
        request_id = secrets.token_hex(12).upper()
        answer = error_answer(OssError(_REFUSAL_CODES[refusal.reason], refusal.message), "", request_id, "")
        assert isinstance(answer.body, bytes)
        headers = {
            "Server": SERVER,
            "Date": http_time(self._clock()),
            "x-oss-request-id": request_id,
            **answer.headers,
        }
        lines = [(name.encode("latin-1"), _header_bytes(value)) for name, value in headers.items()]
        return HttpAnswer(answer.status, lines, answer.body)

    async def _answer(self, scope: Any, receive: Any, request_id: str) -> tuple[Answer, bool]:
        """Returns the answer, and whether the connection can serve another request afterwards."""
        method = scope["method"]
        body: Body | None = None
        for_browsers: dict[str, str] = {}
        try:
            request = parse(scope, self._virtual_hosts)
            body = Body(request, receive)
            found = self._dependencies.buckets.get(request.bucket) if request.bucket else None
            if method == "OPTIONS":
                return preflight(request, found), True
            for_browsers = headers_for(request, found)
            answer = await self._operate(request, body, found, request_id)
        except CallerError as error:
            answer = error_answer(as_oss_error(error), method, request_id, _host(scope))
        except ClientGone:
            raise
        except StoreUnavailable as error:
            log.error("an object cannot be reached", request_id=request_id, method=method, error=str(error))
            refusal = OssError("ServiceUnavailable", "The store of this server does not answer. Please try again.")
            answer = error_answer(refusal, method, request_id, _host(scope))
        except Exception as error:
            # Callers see no details of an internal failure.
            log.exception("the OSS endpoint failed", request_id=request_id, method=method)
            full = full_disk_in(error) is not None
            failure = OssError("ServiceUnavailable", _FULL) if full else OssError("InternalError")
            answer = error_answer(failure, method, request_id, _host(scope))
        answer = msgspec.structs.replace(answer, headers={**answer.headers, **for_browsers})
        return answer, (body is not None and body.touched) or not _may_leave_out_its_body(scope)

    async def _operate(self, request: Request, body: Body, found: Bucket | None, request_id: str) -> Answer:
        """Runs the checks and the operation in the order of reference/companions.md §1.7."""
        if request.bucket and found is None and not may_create_bucket(request):
            raise OssError("NoSuchBucket", details={"BucketName": request.bucket})
        caller = self._authenticator.authenticate(request)
        operation = route(request)
        if found is None and operation is SETS_BUCKET_ACL:
            # As in the cloud, PutBucketAcl creates a missing bucket.
            operation = CREATES_BUCKET
        creates = operation.action == "oss:PutBucket"
        if request.bucket and found is None and not creates:
            raise OssError("NoSuchBucket", details={"BucketName": request.bucket})
        if found is not None:
            check_referer(request, found)
            check_payer(request, caller, found)
        call = Call(self._dependencies, request, caller, body, found, request_id)
        # A bucket being created counts as the caller's own when rights are checked.
        named = Bucket(request.bucket, caller.principal.account_id) if creates else found
        if operation.action:
            await call.require(AccessRequest(operation.action, named, request.key))
        if named is not None:
            check_public_acl(request, self._dependencies.buckets, found or named)
        return await operation.run(call)


async def _send(receive: Receive, send: Send, answer: Answer, headers: dict[str, str]) -> None:
    """Sends the answer. Stops reading a large object when the client disconnects."""
    body = answer.body
    if isinstance(body, bytes):
        if answer.status not in (204, 304):
            headers.setdefault("Content-Length", str(len(body)))
        await send(_start(answer.status, headers))
        await send({"type": "http.response.body", "body": body})
        return
    if not body.gzip:
        headers["Content-Length"] = str(body.length)
    leaving: asyncio.Task[None] | None = None
    try:
        await send(_start(answer.status, headers))
        if body.length > SEND_BYTES:
            leaving = asyncio.create_task(_hung_up(receive))
        async for chunk in _packed(body) if body.gzip else _chunks(body):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if leaving is not None and leaving.done():
                return
        await send({"type": "http.response.body"})
    finally:
        if leaving is not None:
            leaving.cancel()
        body.reader.close()


async def _hung_up(receive: Receive) -> None:
    """Returns when the client has disconnected. Discards what remains of the request's body."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _start(status: int, headers: dict[str, str]) -> dict[str, Any]:
    raw = [(name.encode("latin-1"), _header_bytes(value)) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}


async def _chunks(byte_range: ByteRange) -> AsyncIterator[bytes]:
    position, end = byte_range.start, byte_range.start + byte_range.length
    byte_range.reader.expect(position, byte_range.length)
    while position < end:
        chunk = await byte_range.reader.read(position, min(SEND_BYTES, end - position))
        if not chunk:
            raise PlatformError(f"a stored object is {end - position} bytes shorter than its row says")
        position += len(chunk)
        yield chunk


async def _packed(byte_range: ByteRange) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(GZIP_LEVEL, wbits=zlib.MAX_WBITS | 16)
    async for chunk in _chunks(byte_range):
        if packed := await asyncio.to_thread(packer.compress, chunk):
            yield packed
    yield packer.flush()


def _header_bytes(value: str) -> bytes:
    """Encodes a header as UTF-8, with characters that would end the line replaced by spaces."""
    return re.sub(r"[\r\n\0]", " ", value).encode()


def _may_leave_out_its_body(scope: Any) -> bool:
    """Whether the next bytes on the connection may be the body of this request, so that the connection must be closed:
    the client awaits "100 Continue" and gets an answer instead, or a GET or HEAD announces a body.
    """
    headers = dict(scope["headers"])
    announced = headers.get(b"content-length", b"0") != b"0"
    return b"expect" in headers or (scope["method"] in ("GET", "HEAD") and announced)


def _host(scope: Any) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
