"""The Function Compute door: from a raw HTTP request to its answer.

Built by `app` and served by `fc.server`. Invocations go straight on, all else through Starlette's router.
Never lets an exception out: each becomes the API's error answer, with the request's id.
"""

import asyncio
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from sesame.fc import cors, targets, unserved
from sesame.fc.auth.permissions import Permissions
from sesame.fc.auth.request_head import head_of
from sesame.fc.auth.verifier import Verifier
from sesame.fc.body import ClientGone
from sesame.fc.dependencies import FcDependencies
from sesame.fc.errors import ErrorAnswers
from sesame.fc.exec.endpoint import ExecDependencies, ExecEndpoint
from sesame.fc.headers import REQUEST_ID, DateHeader, canonical, request_id_of
from sesame.fc.instances import Instances
from sesame.fc.invoke import Invoker
from sesame.fc.known_head import REPEATED
from sesame.fc.links import PATH_PREFIX, CodeLinks
from sesame.fc.refusals import InvalidArgument
from sesame.fc.v2016 import openapi, requests
from sesame.fc.v2016.errors import worded
from sesame.fc.v2016.operations import OPERATIONS
from sesame.fc.v2016.requests import REQUEST_ID as REQUEST_ID_IN_SCOPE
from sesame.fc.v2016.requests import REQUESTER, Handler
from sesame.fc.v2016.routes.account import AccountRoutes
from sesame.fc.v2016.routes.configs import ConfigRoutes
from sesame.fc.v2016.routes.domains import DomainRoutes
from sesame.fc.v2016.routes.functions import FunctionRoutes
from sesame.fc.v2016.routes.instances import InstanceRoutes
from sesame.fc.v2016.routes.layers import LayerRoutes
from sesame.fc.v2016.routes.services import ServiceRoutes
from sesame.fc.v2016.routes.tags import TagRoutes
from sesame.fc.v2016.routes.triggers import TriggerRoutes
from sesame.fc.v2016.routes.versions import VersionRoutes
from sesame.fc.web import http_functions
from sesame.fc.web.http_functions import HttpFunctions
from sesame.model.errors import PlatformError

_LINK_PREFIX = PATH_PREFIX.encode()
_ANSWERED = "sesame.answered"
_NUL = b"%00"
# Goes past the router.
_INVOKE = "InvokeFunction"


class FcEndpoint:
    """An ASGI application; `fc.server` serves it."""

    websockets: ClassVar[bool] = True

    def __init__(self, parts: FcDependencies) -> None:
        self._date = DateHeader(parts.wall_clock)
        self._errors = ErrorAnswers(worded, self._date)
        self._verifier = Verifier(parts.authentication, parts.wall_clock)
        self._permissions = Permissions(parts.authorization, parts.control.tags.of, parts.arns.region, parts.wall_clock)
        self._invoker = Invoker(parts.engine, self._date)
        self._http = HttpFunctions(parts.control.http_triggers, self._verifier, self._permissions, self._invoker)
        self._domains = parts.control.domains
        instances = Instances(parts.control, parts.engine)
        self._exec = ExecEndpoint(
            ExecDependencies(self._verifier, self._permissions, instances, parts.engine, self._errors)
        )
        self._router = Router(routes=_routes(parts, instances), redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._exec.serve(scope, receive, send)
            return
        head = head_of(scope)
        request_id = request_id_of(head.trace_id)
        try:
            raw_path: bytes = scope["raw_path"]
            if not raw_path.startswith(targets.VERSION_PREFIX):
                await self._elsewhere(request_id, scope, receive, send)
                return
            if raw_path.startswith(http_functions.PROXY_PREFIX):
                await self._http.serve(request_id, http_functions.proxy_way(scope), scope, receive, send)
                return
            if head.origin:
                send = cors.naming(head.origin, send)
                if cors.is_preflight(scope):
                    await cors.answer_preflight(scope, [(REQUEST_ID, request_id.encode()), self._date()], send)
                    return
            caller = self._verifier.verify(head, scope.get(REPEATED))
            requester = self._permissions.require(caller, head, scope, scope["method"])
            if scope["method"] == "POST" and raw_path.endswith(targets.INVOCATIONS_SUFFIX):
                await self._invoker.serve(request_id, head, scope, receive, send)
            else:
                scope[REQUESTER] = requester
                await self._route(request_id, scope, receive, send)
        except ClientGone:
            return
        except asyncio.CancelledError:
            await self._fail(request_id, scope, send, PlatformError("the server is stopping"))
            raise
        except Exception as error:  # noqa: BLE001 - the border where each becomes an answer
            await self._fail(request_id, scope, send, error)

    async def _elsewhere(self, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Links to code on every host; all other paths belong to the custom domains where there is one."""
        if scope["raw_path"].startswith(_LINK_PREFIX):
            await self._route(request_id, scope, receive, send)
            return
        domain = http_functions.domain_of(self._domains.find, scope)
        if domain is None:
            asked = unserved.asked_of(scope)
            if asked is not None:
                await unserved.refuse(scope, send, self._date(), request_id, asked)
                return
            await self._route(request_id, scope, receive, send)
            return
        way = await http_functions.domain_way(domain, scope)
        await self._http.serve(request_id, way, scope, receive, send)

    async def _route(self, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Through the router, by the path as sent: an escaped slash must not part a name in two."""
        if _NUL in scope["query_string"]:
            raise InvalidArgument.of("the query", "text without NUL characters", "%00")
        routed = dict(scope)
        routed["path"] = scope["raw_path"].decode("latin-1")
        routed[REQUEST_ID_IN_SCOPE] = request_id
        routed["app"] = self  # has the router raise for unknown paths and methods, instead of answering in plain text
        ours = ((REQUEST_ID, request_id.encode()), self._date())

        async def send_spelled(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope[_ANSWERED] = True
                message["headers"] = [*ours, *canonical(message["headers"])]
            await send(message)

        await self._router(routed, receive, send_spelled)

    async def _fail(self, request_id: str, scope: Scope, send: Send, error: Exception) -> None:
        """The error's answer; where an answer has begun already, all that is left is to break the connection off."""
        answer = self._errors.of(error, request_id, (scope["method"], scope["path"]))
        if scope.get(_ANSWERED):
            raise error
        if unserved.has_later_form(scope):
            status, failure = answer
            later = (status, failure.error_code, failure.error_message)
            await unserved.send_in_all_forms(send, self._date(), request_id, later)
            return
        await self._errors.send(send, request_id, answer)


def _routes(parts: FcDependencies, instances: Instances) -> list[Route]:
    """One route for each line of the table of operations, and one for the links to code."""
    links = CodeLinks(parts.link_secret, parts.wall_clock)
    control, arns = parts.control, parts.arns
    functions = FunctionRoutes(control.functions, parts.packages, links)
    handlers: dict[str, Handler] = {}
    for room in (
        ServiceRoutes(control),
        functions,
        VersionRoutes(control),
        TriggerRoutes(control.triggers),
        ConfigRoutes(control, arns.account_id),
        DomainRoutes(control.domains, arns.account_id),
        LayerRoutes(control.layers, links, arns),
        TagRoutes(control.tags, arns),
        InstanceRoutes(instances),
        AccountRoutes(control, parts.account, arns),
    ):
        handlers |= room.handlers()
    routed = (operation for operation in OPERATIONS if operation.name != _INVOKE)
    return [
        *(Route(each.route, handlers[each.name], methods=[each.method]) for each in routed),
        functions.link_route(),
        Route(openapi.PATH, _describe, methods=["GET"]),
    ]


async def _describe(_request: Request) -> Response:
    """What this server serves, for whoever asks: it holds no secret."""
    return requests.answer(openapi.document())
