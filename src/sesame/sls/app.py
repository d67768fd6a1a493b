"""The Log Service endpoint: runs each request through parsing, routing, signature, permissions, body and operation.

Served by `_endpoints` on its own port. Internal failures are logged, and answered without details.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Collection
from email.utils import formatdate

import msgspec
import structlog

from sesame.http.disconnects import while_connected
from sesame.http.interface import Answer as HttpAnswer
from sesame.http.interface import BodyTooLarge, Disconnected, Exchange, Headers, Reason, Refusal, TooManyBodies
from sesame.identity.authentication import ANONYMOUS_CALLER, Authentication
from sesame.identity.authorization import Authorization
from sesame.model.errors import CallerError, StoreUnavailable
from sesame.model.full_disk import full_disk_in
from sesame.model.natural import natural
from sesame.sls.answers import Answer, error_answer
from sesame.sls.auth import Authenticator, check_body
from sesame.sls.bodies import off_loop, too_large, unpacked
from sesame.sls.calls import Call, Dependencies
from sesame.sls.errors import SlsError, as_sls_error
from sesame.sls.permissions import Permissions
from sesame.sls.request import Request, parse
from sesame.sls.routes import Route, route
from sesame.store.logs.logstores.interface import Logstores, StorageFull

SERVER = "AliyunSLS"
_REFUSAL_CODES = {
    Reason.MALFORMED: "ParameterInvalid",
    Reason.HEAD_TOO_LARGE: "ParameterInvalid",
    Reason.TIMED_OUT: "RequestTimeout",
    Reason.NOT_IMPLEMENTED: "NotSupported",
    Reason.VERSION: "ParameterInvalid",
    Reason.OVERLOADED: "ServerBusy",
}

log = structlog.get_logger(__name__)


class SlsDependencies(msgspec.Struct, frozen=True, kw_only=True):
    """`clock` gives Unix seconds; the dates of signatures are compared with `callers_clock`.

    All projects belong to `account_id` in `region`. In a Host header below `own_hosts`, the first label names a
    project.
    """

    store: Logstores
    authentication: Authentication
    authorization: Authorization
    clock: Callable[[], float]
    callers_clock: Callable[[], float]
    region: str
    account_id: str
    own_hosts: Collection[str]


class SlsEndpoint:
    def __init__(self, parts: SlsDependencies) -> None:
        self._own_hosts = frozenset(host.lower() for host in parts.own_hosts)
        self._authenticator = Authenticator(parts.authentication, parts.callers_clock)
        self._clock = parts.clock
        self._dependencies = Dependencies(
            store=parts.store,
            permissions=Permissions(parts.authorization, parts.clock, parts.region, parts.account_id),
            clock=parts.clock,
            region=parts.region,
            account_id=parts.account_id,
            reading=asyncio.Semaphore(1),
        )

    async def serve(self, exchange: Exchange) -> None:
        request_id = _new_request_id()
        try:
            answer = await self._answer(exchange)
        except Disconnected:
            return
        except CallerError as error:
            answer = error_answer(as_sls_error(error))
        except StorageFull as full:
            # Not a 5xx status: clients would retry it forever.
            log.error("the Log Service cannot write: free some space on its disk", error=str(full))
            answer = error_answer(SlsError("WriteQuotaExceed"))
        except StoreUnavailable as unavailable:
            log.warning("the Log Service cannot answer yet", error=str(unavailable))
            answer = error_answer(SlsError("ServerBusy"))
        except Exception as error:
            # Callers see no details of an internal failure.
            log.exception("the Log Service endpoint failed", request_id=request_id, method=exchange.request.method)
            code = "InternalServerError" if full_disk_in(error) is None else "WriteQuotaExceed"
            answer = error_answer(SlsError(code))
        exchange.send_whole(answer.status, self._headers(answer, request_id), b"", answer.body)

    def refuse(self, refusal: Refusal) -> HttpAnswer:
        """Answers a request that the HTTP server refused before parsing it, in the API's form."""
        answer = error_answer(SlsError(_REFUSAL_CODES[refusal.reason], refusal.message))
        return HttpAnswer(answer.status, self._headers(answer, _new_request_id()), answer.body)

    async def _answer(self, exchange: Exchange) -> Answer:
        request = parse(exchange.request, self._own_hosts)
        found = route(request)
        operation = found.operation
        caller = ANONYMOUS_CALLER if operation.unsigned else self._authenticator.authenticate(request)
        if operation.actions:
            resource = found.resource(request.project)
            self._dependencies.permissions.require(caller, request, operation.actions, resource)
        call = Call(self._dependencies, request, caller, found.names, b"")
        if operation.admit is not None:
            await operation.admit(call)
        call = msgspec.structs.replace(call, body=await self._body(exchange, request, found))
        running = operation.run(call)
        return await (while_connected(exchange, running) if operation.question else running)

    async def _body(self, exchange: Exchange, request: Request, found: Route) -> bytes:
        """Reads the body, checks its digest and decompresses it."""
        limit = found.operation.body_bytes_max
        try:
            sent = await exchange.read_body(limit)
        except BodyTooLarge as error:
            raise too_large(limit) from error
        except TooManyBodies as error:
            raise SlsError("ServerBusy") from error

        def prove_and_unpack() -> bytes:
            check_body(request, sent)
            return unpacked(request, sent, limit)

        return await off_loop(max(len(sent), natural(request.header("x-log-bodyrawsize")) or 0), prove_and_unpack)

    def _headers(self, answer: Answer, request_id: str) -> Headers:
        headers = {
            "Server": SERVER,
            "Date": formatdate(int(self._clock()), usegmt=True),
            "Access-Control-Allow-Origin": "*",
            "x-log-requestid": request_id,
            **answer.headers,
        }
        return [(name.encode("latin-1"), _header_bytes(value)) for name, value in headers.items()]


def _new_request_id() -> str:
    return secrets.token_hex(12).upper()


def _header_bytes(value: str) -> bytes:
    """Encodes text of queries and topics as UTF-8, with control characters, which could end the header, blanked."""
    return re.sub(r"[\x00-\x1f\x7f]", " ", value).encode("utf-8", "replace")
