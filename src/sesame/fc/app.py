"""The Function Compute endpoint: from an HTTP request to its answer.

Built by `_endpoints` and served by `http.server`. Invocations go past the router, all other operations through
Starlette's. Every exception becomes the API's error answer, with the request's id.
"""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message

from sesame.destinations.routes import Routes
from sesame.fc import cors, role_administration, targets, unserved
from sesame.fc.async_invoke import AsyncIntake
from sesame.fc.auth.actions import Actions
from sesame.fc.auth.permissions import Permissions
from sesame.fc.auth.request_head import head_of
from sesame.fc.auth.verifier import Verifier
from sesame.fc.dependencies import FcDependencies
from sesame.fc.errors import ErrorAnswers
from sesame.fc.exec.endpoint import ExecDependencies, ExecEndpoint
from sesame.fc.headers import REQUEST_ID, DateHeader, canonical, new_request_id, request_id_of
from sesame.fc.instances import Instances
from sesame.fc.invoke import Invoker
from sesame.fc.links import PATH_PREFIX, CodeLinks
from sesame.fc.refusals import Failure, InvalidArgument
from sesame.fc.v2016 import openapi, requests
from sesame.fc.v2016.errors import worded
from sesame.fc.v2016.operations import OPERATIONS, OWN_PREFIX
from sesame.fc.v2016.requests import Handler
from sesame.fc.v2016.routes.account import AccountRoutes
from sesame.fc.v2016.routes.async_invocations import AsyncInvocationRoutes
from sesame.fc.v2016.routes.configs import ConfigRoutes
from sesame.fc.v2016.routes.domains import DomainRoutes
from sesame.fc.v2016.routes.functions import FunctionRoutes
from sesame.fc.v2016.routes.instances import InstanceRoutes
from sesame.fc.v2016.routes.layers import LayerRoutes
from sesame.fc.v2016.routes.own_async_invocations import OwnAsyncInvocationRoutes
from sesame.fc.v2016.routes.own_destinations import OwnDestinationRoutes
from sesame.fc.v2016.routes.own_recordings import OwnRecordingRoutes
from sesame.fc.v2016.routes.own_triggers import OwnTriggerRoutes
from sesame.fc.v2016.routes.services import ServiceRoutes
from sesame.fc.v2016.routes.tags import TagRoutes
from sesame.fc.v2016.routes.triggers import TriggerRoutes
from sesame.fc.v2016.routes.versions import VersionRoutes
from sesame.fc.web import http_functions
from sesame.fc.web.http_functions import HttpFunctions
from sesame.http.asgi import Adapter, scope_of
from sesame.http.interface import Answer, Disconnected, Exchange, Reason, Refusal, WebSocket
from sesame.identity.authorization import Requester
from sesame.identity.invocation_roles import InvocationRoles
from sesame.model.errors import PlatformError

_LINK_PREFIX = PATH_PREFIX.encode()
_OWN_PREFIX = OWN_PREFIX.encode() + b"/"
# Refusals by the server, with the API's codes; a head that is too large is an invalid argument, as it is in the cloud.
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
# Not routed: `fc.invoke` serves it.
_INVOKE = "InvokeFunction"


class FcEndpoint:
    """An `http.interface.Endpoint`, with websockets."""

    def __init__(self, parts: FcDependencies) -> None:
        self._date = DateHeader(parts.clocks.wall)
        self._errors = ErrorAnswers(worded, self._date)
        self._verifier = Verifier(parts.authentication, parts.callers_wall or parts.clocks.wall)
        self._permissions = Permissions(
            parts.authorization, Actions(OPERATIONS, parts.arns.region), parts.control.tags.of, parts.clocks.wall
        )
        intake = AsyncIntake(parts.control.async_invocations, self._date, parts.continued)
        self._invoker = Invoker(parts.engine, intake, self._date)
        self._http = HttpFunctions(parts.control.http_triggers, self._verifier, self._permissions, self._invoker)
        self._domains = parts.control.domains
        self._http_triggers = parts.control.http_triggers
        instances = Instances(parts.control, parts.engine)
        self._exec = ExecEndpoint(
            ExecDependencies(self._verifier, self._permissions, instances, parts.engine, self._errors, parts.clocks)
        )
        self._router = Router(routes=_routes(parts, instances), redirect_slashes=False)

    async def serve_websocket(self, websocket: WebSocket) -> None:
        await self._exec.serve(websocket)

    def refuse(self, refusal: Refusal) -> Answer:
        """What never comes to be a request, in the API's form."""
        failure = Failure(_REFUSAL_CODES[refusal.reason], refusal.message)
        status = _REFUSAL_STATUSES.get(refusal.reason, refusal.reason.value)
        return self._errors.answer(new_request_id(), (status, failure))

    async def serve(self, exchange: Exchange) -> None:
        request = exchange.request
        head = head_of(request)
        request_id = request_id_of(head.trace_id)
        try:
            raw_path = request.raw_path
            if not raw_path.startswith(targets.VERSION_PREFIX):
                await self._elsewhere(request_id, exchange)
                return
            if raw_path.startswith(http_functions.PROXY_PREFIX):
                await self._http.serve(request_id, http_functions.proxy_way(request), exchange)
                return
            if head.origin:
                cors.name_origin(exchange, head.origin)
                if cors.is_preflight(request):
                    cors.answer_preflight(exchange, [(REQUEST_ID, request_id.encode()), self._date()])
                    return
            caller = self._verifier.verify(head, request.query)
            requester = self._permissions.require(caller, head, request, request.method)
            if request.method == "POST" and raw_path.endswith(targets.INVOCATIONS_SUFFIX):
                await self._invoker.serve(request_id, head, exchange, requester.principal.chain)
            else:
                await self._route(request_id, exchange, requester)
        except Disconnected:
            raise
        except asyncio.CancelledError:
            self._fail(request_id, exchange, PlatformError("the server is stopping"))
            raise
        except Exception as error:  # noqa: BLE001 - the border where each becomes an answer
            self._fail(request_id, exchange, error)

    async def _elsewhere(self, request_id: str, exchange: Exchange) -> None:
        """Links to code on every host; all other paths belong to custom domains, and to functions under local URLs."""
        request = exchange.request
        domain = None
        if not request.raw_path.startswith(_LINK_PREFIX):
            domain = http_functions.domain_of(self._domains.find, request)
        if domain is None:
            local = http_functions.local_names(request)
            if local is not None and not request.raw_path.startswith(_OWN_PREFIX):
                target = self._http_triggers.named(*local)
                await self._http.serve(request_id, http_functions.local_way(target, request), exchange)
                return
            asked = unserved.asked_of(request)
            if asked is not None:
                self._send(exchange, unserved.refusal(request, self._date(), request_id, asked))
                return
            requester = None
            if request.raw_path.startswith(_OWN_PREFIX) and not request.raw_path.startswith(_LINK_PREFIX):
                head = head_of(request)
                caller = self._verifier.verify(head, request.query)
                requester = self._permissions.require(caller, head, request, request.method)
            await self._route(request_id, exchange, requester)
            return
        way = await http_functions.domain_way(domain, request)
        await self._http.serve(request_id, way, exchange)

    async def _route(self, request_id: str, exchange: Exchange, requester: Requester | None) -> None:
        """Through the router, by the path as sent: an escaped slash must not part a name in two."""
        request = exchange.request
        if _NUL in request.query:
            raise InvalidArgument.of("the query", "text without NUL characters", "%00")
        scope = scope_of(request)
        scope["path"] = request.raw_path.decode("latin-1")
        scope[requests.EXCHANGE] = exchange
        scope[requests.REQUEST_ID] = request_id
        scope[requests.REQUESTER] = requester
        scope["app"] = self  # has the router raise for unknown paths and methods, instead of answering in plain text
        adapter = Adapter(exchange)
        ours = ((REQUEST_ID, request_id.encode()), self._date())

        async def send_spelled(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*ours, *canonical(message["headers"])]
            await adapter.send(message)

        await self._router(scope, adapter.receive, send_spelled)

    def _fail(self, request_id: str, exchange: Exchange, error: Exception) -> None:
        """The error's answer; where an answer has begun already, all that is left is to break the connection off."""
        request = exchange.request
        answer = self._errors.of(error, request_id, (request.method, request.path))
        if exchange.begun:
            raise error
        if unserved.has_later_form(request):
            status, failure = answer
            later = (status, failure.error_code, failure.error_message)
            self._send(exchange, unserved.in_all_forms(self._date(), request_id, later))
            return
        self._send(exchange, self._errors.answer(request_id, answer))

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        exchange.send_whole(answer.status, answer.headers, b"", answer.body)


def _routes(parts: FcDependencies, instances: Instances) -> list[Route]:
    """One route for each line of the table of operations, and one for the links to code."""
    links = CodeLinks(parts.link_secret, parts.clocks.wall)
    control, arns = parts.control, parts.arns
    functions = FunctionRoutes(control.functions, parts.packages, links)
    roles = InvocationRoles(parts.roles, parts.authorization, arns, parts.clocks.wall)
    handlers: dict[str, Handler] = {}
    for routes in (
        ServiceRoutes(control, parts.log_problem),
        functions,
        VersionRoutes(control),
        TriggerRoutes(control.triggers),
        OwnTriggerRoutes(control.trigger_firing, roles.objection),
        ConfigRoutes(control, arns),
        OwnDestinationRoutes(control.async_configs, Routes(arns, parts.destinations)),
        AsyncInvocationRoutes(control.async_invocations),
        OwnRecordingRoutes(parts.recorder, parts.replays),
        OwnAsyncInvocationRoutes(control.async_invocations, control.dead_letters),
        DomainRoutes(control.domains, arns.account_id),
        LayerRoutes(control.layers, links, arns),
        TagRoutes(control.tags, arns),
        InstanceRoutes(instances),
        AccountRoutes(control, parts.account, arns),
    ):
        handlers |= routes.handlers()
    routed = (operation for operation in OPERATIONS if operation.name != _INVOKE)
    return [
        *(Route(each.route, handlers[each.name], methods=[each.method]) for each in routed),
        functions.link_route(),
        *role_administration.RoleAdministration(parts.roles, arns.account_id, parts.lend).routes(),
        Route(openapi.PATH, _describe, methods=["GET"]),
    ]


async def _describe(_request: Request) -> Response:
    """The description of the API, without a signature: it holds no secret."""
    return requests.answer(openapi.document())
