"""The Function Compute endpoint: from an HTTP request to its answer.

Built by `_endpoints` and served by `http.server`. Invocations bypass the router; all other operations go through
Starlette's. Every exception becomes an error answer of the API, with the request's id.
"""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message

from sesame.fc import cors, openapi, requests, role_administration, targets, unserved
from sesame.fc.api_version import ApiVersion, Face, Faces
from sesame.fc.async_invoke import ASYNC, AsyncIntake
from sesame.fc.auth.actions import Actions
from sesame.fc.auth.permissions import Permissions
from sesame.fc.auth.request_head import RequestHead, head_of
from sesame.fc.auth.verifier import Verifier
from sesame.fc.call_sessions import CallSessions
from sesame.fc.code_download import CodeDownload
from sesame.fc.dependencies import FcDependencies, VersionDependencies
from sesame.fc.exec.endpoint import ExecDependencies, ExecEndpoint
from sesame.fc.headers import REQUEST_ID, DateHeader, canonical, new_request_id, request_id_of
from sesame.fc.instances import Instances
from sesame.fc.invoke import Invoker
from sesame.fc.links import PATH_PREFIX, CodeLinks
from sesame.fc.operations import INVOKE, OWN_PREFIX
from sesame.fc.placement import Placement, require_first_use
from sesame.fc.refusals import Failure, InvalidArgument, PathNotSupported
from sesame.fc.requests import Handler
from sesame.fc.v2016 import version as v2016
from sesame.fc.v2021 import version as v2021
from sesame.fc.v2023 import version as v2023
from sesame.fc.web import ways
from sesame.fc.web.http_functions import HttpFunctions, HttpNeeds
from sesame.fc.web.ways import Way
from sesame.http.asgi import Adapter, scope_of
from sesame.http.interface import Answer, Disconnected, Exchange, Reason, Refusal, WebSocket
from sesame.http.moving import settle
from sesame.http.request import Request as HttpRequest
from sesame.identity.acs_signature import NONCE
from sesame.identity.authentication import Caller
from sesame.identity.authorization import Requester
from sesame.model.errors import CallerError, PlatformError
from sesame.model.invocation import Target

_LINK_PREFIX = PATH_PREFIX.encode()
_OWN_PREFIX = OWN_PREFIX.encode() + b"/"
# The API's codes for refusals by the server; as in the cloud, an oversized head is an invalid argument.
_REFUSAL_CODES = {
    Reason.MALFORMED: "InvalidArgument",
    Reason.HEAD_TOO_LARGE: "InvalidArgument",
    Reason.TIMED_OUT: "RequestTimeout",
    Reason.NOT_IMPLEMENTED: "NotImplemented",
    Reason.VERSION: "InvalidArgument",
    Reason.OVERLOADED: "ResourceThrottled",
}
_REFUSAL_STATUSES = {Reason.HEAD_TOO_LARGE: 400}
_NUL = b"%00"
# The API versions that are served. Add a new version here.
VERSIONS: tuple[ApiVersion, ...] = (v2016.VERSION, v2021.VERSION, v2023.VERSION)


class FcEndpoint:
    """An `http.interface.Endpoint`, with websockets."""

    def __init__(self, parts: FcDependencies) -> None:
        self._date = DateHeader(parts.clocks.wall)
        self._faces = Faces(VERSIONS, self._date)
        nonces = None if parts.placement is None else parts.placement.nonces
        self._verifier = Verifier(parts.authentication, parts.callers_wall or parts.clocks.wall, nonces)
        self._permissions = Permissions(
            parts.authorization, Actions(VERSIONS, parts.arns.region), parts.control.tags.of, parts.clocks.wall
        )
        intake = AsyncIntake(parts.control.async_invocations, self._date, parts.continued)
        self._invoker = Invoker(parts.engine, intake, self._date, CallSessions(parts.engine, parts.control.sessions))
        self._http = HttpFunctions(
            HttpNeeds(
                triggers=parts.control.http_triggers,
                verifier=self._verifier,
                permissions=self._permissions,
                invoker=self._invoker,
                account_id=parts.arns.account_id,
                wall_clock=parts.clocks.wall,
                placement=parts.placement,
            )
        )
        self._placement = parts.placement
        self._domains = parts.control.domains
        self._http_triggers = parts.control.http_triggers
        instances = Instances(parts.control, parts.engine)
        self._exec = ExecEndpoint(
            ExecDependencies(self._verifier, self._permissions, instances, parts.engine, self._faces, parts.clocks)
        )
        links = CodeLinks(parts.link_secret, parts.clocks.wall)
        self._routers = Routers(VersionDependencies(parts, instances, links))

    def is_web(self, request: HttpRequest) -> bool:
        """Whether this may be a request to an HTTP function."""
        return self._faces.of(request.raw_path) is None or request.raw_path.startswith(targets.PROXY_PREFIX)

    async def serve_websocket(self, websocket: WebSocket) -> None:
        request = websocket.request
        request_id = request_id_of(head_of(request).trace_id)
        try:
            if request.raw_path.startswith(targets.PROXY_PREFIX):
                way: Way | None = ways.proxy_way(request)
            else:
                way = None if self._faces.of(request.raw_path) is not None else await self._way(request)
            if way is None:
                await self._exec.serve(websocket)
            else:
                await self._http.serve_websocket(request_id, way, websocket)
        except Disconnected:
            raise
        except Exception as error:
            if websocket.accepted:
                raise
            errors = self._faces.first.errors
            websocket.refuse(errors.answer(request_id, errors.of(error, request_id, ("GET", request.path))))

    def refuse(self, refusal: Refusal) -> Answer:
        """Formats a refusal by the HTTP server, before any request was parsed, as the API's error."""
        failure = Failure(_REFUSAL_CODES[refusal.reason], refusal.message)
        status = _REFUSAL_STATUSES.get(refusal.reason, refusal.reason.value)
        return self._faces.first.errors.answer(new_request_id(), (status, failure))

    async def serve(self, exchange: Exchange) -> None:
        request = exchange.request
        head = head_of(request)
        request_id = request_id_of(head.trace_id)
        raw_path = request.raw_path
        face = self._faces.of(raw_path)
        try:
            if face is None or raw_path.startswith(targets.PROXY_PREFIX):
                await self._serve_web(request_id, face, exchange)
                return
            if head.origin:
                cors.name_origin(exchange, head.origin)
                if cors.is_preflight(request):
                    cors.answer_preflight(exchange, [(REQUEST_ID, request_id.encode()), self._date()])
                    return
            caller: Caller | None
            if self._placement is None:
                caller = self._verifier.verify(head, request.query)
            else:
                caller = await self._verified(self._placement, head, face, exchange)
                if caller is None:
                    return
            requester = self._permissions.require(caller, head, request, request.method)
            if request.method == "POST" and raw_path.endswith(targets.INVOCATIONS_SUFFIX):
                target = face.version.naming.invoked(raw_path, request.query)
                if target is None:
                    raise PathNotSupported("POST", targets.segment(raw_path))
                version: str | None = ""
                if self._placement is not None and head.invocation_type != ASYNC:
                    version = await _placed(self._placement, target, exchange)
                if version is not None:
                    await self._invoker.serve(request_id, target, exchange, caller.principal.chain, version)
            else:
                settle(exchange)
                await self._route(request_id, exchange, requester, face)
        except Disconnected:
            raise
        except asyncio.CancelledError:
            self._fail(request_id, exchange, PlatformError("the server is stopping"), face)
            raise
        except Exception as error:  # noqa: BLE001 - the border where each becomes an answer
            self._fail(request_id, exchange, error, face)

    async def _verified(self, placement: Placement, head: RequestHead, face: Face, exchange: Exchange) -> Caller | None:
        """As `Verifier.verify`, among several agents; None if the writer has taken over the request."""
        request, proven = exchange.request, placement.proven(exchange)
        may_stay = _is_call(head, request.raw_path) and (proven or self._serves(placement, face, request))
        if not may_stay and await self._has_gone_to_writer(exchange):
            return None
        caller = self._verifier.verify(head, request.query, proven=proven)
        if not proven:
            await require_first_use(placement, self._verifier.nonce_of(head))
        return caller

    def _serves(self, placement: Placement, face: Face, request: HttpRequest) -> bool:
        """Whether the call can be served here.

        Decided early, so that the writer is only asked about nonces of such calls.
        """
        if not any(name == NONCE for name, _value in request.headers):
            # Decided later, once the caller is known.
            return True
        target = face.version.naming.invoked(request.raw_path, request.query)
        return target is not None and placement.serves_calls_of(target)

    async def _has_gone_to_writer(self, exchange: Exchange) -> bool:
        """Whether the writer has taken over the request. Such requests can be served by no other agent."""
        assert self._placement is not None
        moving = self._placement.to_writer(exchange)
        return moving is not None and await moving

    async def _serve_web(self, request_id: str, face: Face | None, exchange: Exchange) -> None:
        """Serves requests to HTTP functions, below `/2016-08-15/proxy/` and on their own hosts."""
        request, placement = exchange.request, self._placement
        try:
            way = await self._way(request) if face is None else ways.proxy_way(request)
        except CallerError:
            if placement is not None and await self._has_gone_to_writer(exchange):
                return
            raise
        may_stay = placement is None or (
            way is not None and head_of(request).invocation_type != ASYNC and placement.serves_calls_of(way.target)
        )
        if not may_stay and await self._has_gone_to_writer(exchange):
            return
        if way is None:
            settle(exchange)
            await self._elsewhere(request_id, exchange)
        else:
            await self._http.serve(request_id, way, exchange)

    async def _elsewhere(self, request_id: str, exchange: Exchange) -> None:
        """Serves links to code, on every host, and Sesame's own operations."""
        request = exchange.request
        unserved_request = unserved.asked_of(request, self._faces.names)
        if unserved_request is not None:
            self._send(
                exchange, unserved.refusal(request, self._date(), request_id, unserved_request, self._faces.names)
            )
            return
        requester = None
        if request.raw_path.startswith(_OWN_PREFIX) and not request.raw_path.startswith(_LINK_PREFIX):
            head = head_of(request)
            caller = self._verifier.verify(head, request.query)
            requester = self._permissions.require(caller, head, request, request.method)
        await self._route(request_id, exchange, requester, None)

    async def _way(self, request: HttpRequest) -> Way | None:
        """The HTTP function that a request outside every API version addresses; None if there is none."""
        if request.raw_path.startswith(_LINK_PREFIX):
            return None
        domain = ways.domain_of(self._domains.find, request)
        if domain is not None:
            return await ways.domain_way(domain, self._domains.cors_of(domain), request)
        if request.raw_path.startswith(_OWN_PREFIX):
            return None
        target = ways.local_target(self._http_triggers, request)
        return None if target is None else ways.local_way(target, request)

    async def _route(self, request_id: str, exchange: Exchange, requester: Requester | None, face: Face | None) -> None:
        """Routes by the raw path, because an escaped slash must not split a name.

        `face` is None for requests that belong to no version.
        """
        request = exchange.request
        if _NUL in request.query:
            raise InvalidArgument.of("the query", "text without NUL characters", "%00")
        scope = scope_of(request)
        scope["path"] = request.raw_path.decode("latin-1")
        scope[requests.EXCHANGE] = exchange
        scope[requests.REQUEST_ID] = request_id
        scope[requests.REQUESTER] = requester
        scope[requests.NAMING] = targets.OwnNaming() if face is None else face.version.naming
        scope["app"] = self  # makes the router raise for unknown paths and methods, instead of answering in plain text
        adapter = Adapter(exchange)
        ours = ((REQUEST_ID, request_id.encode()), self._date())

        async def send_spelled(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*ours, *canonical(message["headers"])]
            await adapter.send(message)

        router = self._routers.of_version(face.version) if face is not None else self._routers.beside()
        await router(scope, adapter.receive, send_spelled)

    def _fail(self, request_id: str, exchange: Exchange, error: Exception, face: Face | None) -> None:
        """Sends the error's answer. If an answer has already begun, the connection can only be aborted."""
        request = exchange.request
        first = self._faces.first
        errors = (face or first).errors
        answer = errors.of(error, request_id, (request.method, request.path))
        if exchange.begun:
            raise error
        if face in (None, first) and unserved.has_later_form(request):
            status, failure = answer
            later = (status, failure.error_code, failure.error_message)
            self._send(exchange, unserved.in_all_forms(self._date(), request_id, later))
            return
        self._send(exchange, errors.answer(request_id, answer))

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        exchange.send_whole(answer.status, answer.headers, b"", answer.body)


async def _placed(placement: Placement, target: Target, exchange: Exchange) -> str | None:
    """The version that was drawn for a call that is served here, "" if none was; None if another agent serves it."""
    called = placement.drawn(target, exchange)
    moving = placement.moves(called, exchange)
    if moving is not None and await moving:
        return None
    settle(exchange)
    return "" if called is target else called.qualifier


def _is_call(head: RequestHead, raw_path: bytes) -> bool:
    """Whether this is a synchronous invocation through the API's path, and not from a web page."""
    if head.method != b"POST" or not raw_path.endswith(targets.INVOCATIONS_SUFFIX):
        return False
    return head.invocation_type != ASYNC and not head.origin


class Routers:
    """The router of each version, created on first use because compiling its many paths takes time."""

    def __init__(self, parts: VersionDependencies) -> None:
        self._parts = parts
        self._handlers: dict[str, dict[str, Handler]] = {}
        self._made: dict[str, Router] = {}

    def of_version(self, version: ApiVersion) -> Router:
        """One route for each operation of the version."""
        router = self._made.get(version.name)
        if router is None:
            router = self._made[version.name] = _router(self._of(version, own=False))
        return router

    def beside(self) -> Router:
        """The router for everything outside the versions: own operations, links to code, roles, descriptions."""
        router = self._made.get(OWN_PREFIX)
        if router is None:
            given = self._parts.given
            routes = [route for version in VERSIONS for route in self._of(version, own=True)]
            routes += [
                CodeDownload(given.packages, self._parts.links).route(),
                *role_administration.RoleAdministration(given.roles, given.arns.account_id, given.lend).routes(),
                Route(openapi.PATH, _describe, methods=["GET"]),
            ]
            router = self._made[OWN_PREFIX] = _router(routes)
        return router

    def _of(self, version: ApiVersion, *, own: bool) -> list[Route]:
        if version.name not in self._handlers:
            self._handlers[version.name] = version.handlers(self._parts)
        handlers = self._handlers[version.name]
        routed = (each for each in version.operations if each.own == own and each.name != INVOKE)
        return [Route(each.route, handlers[each.name], methods=[each.method]) for each in routed]


def _router(routes: list[Route]) -> Router:
    return Router(routes=routes, redirect_slashes=False)


async def _describe(request: Request) -> Response:
    """The description of a version, the first one by default. Contains no secret, so it requires no signature."""
    wanted = request.query_params.get("version") or VERSIONS[0].name
    for version in VERSIONS:
        if version.name == wanted:
            return requests.answer(openapi.document(version))
    raise InvalidArgument.of("version", " | ".join(version.name for version in VERSIONS), wanted[:64])
