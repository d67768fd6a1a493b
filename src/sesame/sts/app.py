"""The STS endpoint: runs each request through body, parsing, signature and operation; answers in JSON or XML.

Served by `_endpoints` on its own port. Internal failures are logged, and answered without details.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec
import structlog

from sesame.http.interface import Answer as HttpAnswer
from sesame.http.interface import BodyTooLarge, Disconnected, Exchange, Headers, Reason, Refusal, TooManyBodies
from sesame.http.request import Request as HttpRequest
from sesame.identity.assuming import Assuming
from sesame.identity.authentication import Authentication
from sesame.identity.facts import NO_SERVICE_FACTS, RequestFacts
from sesame.identity.nonces import UsedNonces
from sesame.sts.auth import Authenticator
from sesame.sts.errors import StsError
from sesame.sts.operations import Call, run
from sesame.sts.request import BODY_BYTES_MAX, parse, wants_xml

HOST_ID = "sts.aliyuncs.com"
_REFUSAL_CODES = {
    Reason.MALFORMED: "InvalidParameter",
    Reason.HEAD_TOO_LARGE: "InvalidParameter",
    Reason.TIMED_OUT: "RequestTimeout",
    Reason.NOT_IMPLEMENTED: "UnsupportedHTTPMethod",
    Reason.VERSION: "InvalidParameter",
    Reason.OVERLOADED: "ServiceUnavailable",
}

# Characters that XML forbids. A pattern of the allowed characters takes 5 ms longer to compile.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]|[\ud800-\udfff]|[\ufffe\uffff]")

log = structlog.get_logger(__name__)


class StsDependencies(msgspec.Struct, frozen=True, kw_only=True):
    """`clock` gives Unix seconds; the times of signatures are compared with `callers_clock`.

    `nonces` are shared with the other endpoints.
    """

    authentication: Authentication
    assuming: Assuming
    clock: Callable[[], float]
    callers_clock: Callable[[], float]
    nonces: UsedNonces | None = None


class StsEndpoint:
    def __init__(self, parts: StsDependencies) -> None:
        self._authenticator = Authenticator(parts.authentication, parts.callers_clock, parts.nonces)
        self._assuming = parts.assuming
        self._clock = parts.clock

    async def serve(self, exchange: Exchange) -> None:
        request_id, xml = _new_request_id(), True
        try:
            xml = wants_xml(exchange.request)
            body = await _body(exchange)
            xml = wants_xml(exchange.request, body)
            action, fields = self._answer(exchange.request, body)
        except Disconnected:
            return
        except StsError as error:
            answer = self._refusal(error, request_id, xml)
        except Exception:
            # Callers see no details of an internal failure.
            log.exception("the STS endpoint failed", request_id=request_id, method=exchange.request.method)
            answer = self._refusal(StsError("InternalError"), request_id, xml)
        else:
            written, kind = _written({"RequestId": request_id, **fields}, f"{action}Response", xml)
            answer = HttpAnswer(200, self._headers(kind, request_id), written)
        exchange.send_whole(answer.status, answer.headers, b"", answer.body)

    def refuse(self, refusal: Refusal) -> HttpAnswer:
        """Answers a request that the HTTP server refused before parsing it, in the API's form."""
        return self._refusal(StsError(_REFUSAL_CODES[refusal.reason], refusal.message), _new_request_id(), xml=True)

    def _answer(self, http: HttpRequest, body: bytes) -> tuple[str, Mapping[str, Any]]:
        request = parse(http, body)
        caller = self._authenticator.authenticate(request)
        facts = RequestFacts(
            source_ip=http.client[0],
            at=self._clock(),
            secure_transport=http.scheme == "https",
            user_agent=request.headers.get("user-agent", ""),
            access_key_id=caller.access_key_id,
            service_keys=NO_SERVICE_FACTS,
        )
        return request.action, run(Call(request, caller, facts, self._assuming))

    def _refusal(self, error: StsError, request_id: str, xml: bool) -> HttpAnswer:
        document = {"RequestId": request_id, "HostId": HOST_ID, "Code": error.code, "Message": str(error)}
        written, kind = _written(document, "Error", xml)
        return HttpAnswer(error.status, self._headers(kind, request_id), written)

    def _headers(self, content_type: bytes, request_id: str) -> Headers:
        return [
            (b"Date", formatdate(int(self._clock()), usegmt=True).encode()),
            (b"Content-Type", content_type),
            (b"x-acs-request-id", request_id.encode()),
        ]


async def _body(exchange: Exchange) -> bytes:
    try:
        return await exchange.read_body(BODY_BYTES_MAX)
    except BodyTooLarge as error:
        raise StsError("InvalidParameter", f"The body is longer than {error.limit_bytes} bytes.") from error
    except TooManyBodies as error:
        raise StsError("ServiceUnavailable") from error


def _written(document: Mapping[str, Any], root: str, xml: bool) -> tuple[bytes, bytes]:
    """Encodes an answer; returns its bytes and media type."""
    if not xml:
        return msgspec.json.encode(document), b"application/json;charset=utf-8"
    element = Element(root)
    _fill(element, document)
    return tostring(element, encoding="utf-8", xml_declaration=True), b"text/xml;charset=utf-8"


def _fill(element: Element, document: Mapping[str, Any]) -> None:
    for name, value in document.items():
        child = SubElement(element, name)
        if isinstance(value, Mapping):
            _fill(child, value)
        else:
            child.text = _NO_XML.sub("?", value)


def _new_request_id() -> str:
    return str(uuid.uuid4()).upper()
