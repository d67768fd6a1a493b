"""Decides who may access an HTTP function: both the custom domain and the trigger must admit the request.

Called by `fc.web.http_functions` for each request and each websocket, before anything of a request's body is read,
except for forms that contain a token or receive its claims.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from sesame.control import jwt_auth
from sesame.control.jwt_auth import JWT, JwtAuth
from sesame.fc.auth.permissions import Permissions
from sesame.fc.auth.request_head import head_of
from sesame.fc.auth.verifier import Verifier
from sesame.fc.placement import Placement, require_first_use
from sesame.fc.refusals import AccessDenied
from sesame.fc.web import claims
from sesame.fc.web.forms import Form, is_form, with_body
from sesame.fc.web.ways import ANONYMOUS, Way
from sesame.http.interface import Exchange, WebSocket
from sesame.http.request import Request
from sesame.model.errors import Rejected
from sesame.model.invocation import Target
from sesame.model.recursion import Chain
from sesame.model.trigger_configs import HttpConfig

FUNCTION = "function"
# How many parsed configurations are cached; beyond it, the cache is cleared.
_KNOWN_MAX = 256

ReadEvent = Callable[[Target, Exchange], Awaitable[bytes]]


class AdmissionNeeds(msgspec.Struct, frozen=True):
    """`read_event` reads a body like an invocation's; `wall_clock` returns Unix seconds.

    `placement` is set if this is one of several agents.
    """

    verifier: Verifier
    permissions: Permissions
    read_event: ReadEvent
    wall_clock: Callable[[], float]
    placement: Placement | None


class Admission:
    def __init__(self, needs: AdmissionNeeds) -> None:
        self._needs = needs
        # By the id of the configuration object, which is stored as well, so that the id is not reused.
        self._known: dict[int, tuple[str | dict[str, Any], JwtAuth]] = {}

    async def of(self, trigger: HttpConfig, way: Way, exchange: Exchange) -> tuple[Chain, Way, Exchange]:
        """Returns the caller's chain, and the request as the function shall see it. Unsigned callers have no chain.

        Raises a `CallerError` for callers who are not admitted.
        """
        if trigger.auth_type == ANONYMOUS and way.asks is None:
            return (), way, exchange
        request = exchange.request
        chain: Chain = ()
        if _wants_signature(trigger, way):
            placement = self._needs.placement
            proven = placement is not None and placement.proven(exchange)
            chain = self._signed(way, request, proven=proven)
            if placement is not None and not proven:
                await require_first_use(placement, self._needs.verifier.nonce_of(head_of(request)))
        for auth, path in await self._asked(trigger, way):
            read = partial(self._needs.read_event, way.target, exchange) if is_form(exchange.request) else None
            form = Form(read)
            way = await self._claimed(auth, path, claims.Incoming(request, way, form))
            if form.body is not None:
                exchange = with_body(exchange, form.body)
        return chain, way, exchange

    async def of_websocket(self, trigger: HttpConfig, way: Way, websocket: WebSocket) -> tuple[Chain, Way]:
        """Like `of`, for a request without a body."""
        request = websocket.request
        chain = self._signed(way, request, proven=websocket.proven) if _wants_signature(trigger, way) else ()
        for auth, path in await self._asked(trigger, way):
            way = await self._claimed(auth, path, claims.Incoming(request, way, Form(None)))
        return chain, way

    def _signed(self, way: Way, request: Request, *, proven: bool) -> Chain:
        """Raises a `CallerError` for a missing signature, or a caller who may not invoke the function."""
        head = head_of(request)
        caller = self._needs.verifier.verify_trigger(head, request.query, proven=proven)
        self._needs.permissions.require_invoke(caller, head, request, way.target)
        return caller.principal.chain

    async def _asked(self, trigger: HttpConfig, way: Way) -> list[tuple[JwtAuth, str]]:
        """The required token checks with the path each applies to: first the domain's, on the path before rewriting."""
        required = []
        if way.asks is not None and way.asks.auth_type == JWT:
            required.append((await self._read(way.asks.auth_info, f"domain name '{way.asks.domain}'"), way.asks.path))
        if trigger.auth_type == JWT:
            required.append((await self._read(trigger.auth_config, "the HTTP trigger"), way.path))
        return required

    async def _read(self, sent: str | dict[str, Any], owner: str) -> JwtAuth:
        """Parses a configuration, in a thread; cached for all requests that use it."""
        cached = self._known.get(id(sent))
        if cached is not None and cached[0] is sent:
            return cached[1]
        try:
            auth = await jwt_auth.read_in_thread(sent, "auth_config")
        except Rejected as error:
            # Earlier versions stored any configuration that was sent.
            raise AccessDenied(f"the authConfig of {owner} cannot be used, set it again: {error}") from error
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[id(sent)] = (sent, auth)
        return auth

    async def _claimed(self, auth: JwtAuth, path: str, incoming: claims.Incoming) -> Way:
        """The way, with the claims of the token that the request needs."""
        claimed = None
        if auth.needs_token(path):
            claimed = await claims.of_token(auth, incoming, self._needs.wall_clock())
        return await claims.passed(auth, incoming, claimed)


def _wants_signature(trigger: HttpConfig, way: Way) -> bool:
    """Raises `AccessDenied` if the domain or the trigger requires an authentication that is not supported."""
    wanted = {trigger.auth_type: "the HTTP trigger"}
    if way.asks is not None:
        wanted[way.asks.auth_type] = f"domain name '{way.asks.domain}'"
    for auth_type, owner in wanted.items():
        if auth_type not in (ANONYMOUS, FUNCTION, JWT):
            raise AccessDenied(
                f"the authType '{auth_type}' of {owner} is stored but not served here: use '{ANONYMOUS}', "
                f"'{FUNCTION}' or '{JWT}'"
            )
    return FUNCTION in wanted
