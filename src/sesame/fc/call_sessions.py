"""Determines the session of a call to a function with session affinity, starting a new one if necessary.

Called by `fc.invoke` and `fc.web.http_functions` for synchronous calls; as in the cloud, asynchronous ones have no
session.
"""

from collections.abc import Awaitable, Callable

import msgspec

from sesame.control.sessions import Sessions
from sesame.engine.interface import Engine
from sesame.fc.headers import Headers
from sesame.fc.targets import PROXY_PREFIX
from sesame.http.request import Request
from sesame.model.errors import Invalid
from sesame.model.invocation import Invocation, Outcome, Target
from sesame.model.records import Record
from sesame.model.session import SessionKey
from sesame.model.session_affinity import GENERATED_COOKIE, SessionAffinity

COOKIE = b"x-fc-cookie-session-id"


class CallSession(msgspec.Struct, frozen=True):
    """The session of a call. `headers` are added to the response to tell the caller a newly generated id."""

    key: SessionKey
    headers: Headers


class CallSessions:
    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine = engine
        self._sessions = sessions
        self.affinity: Callable[[Target], SessionAffinity | None] = engine.affinity

    async def of(self, affinity: SessionAffinity, target: Target, request: Request) -> CallSession:
        """Raises `Rejected` for an invalid session id, and for a session that accepts no calls."""
        sent = (_cookie(request) if affinity.kind == GENERATED_COOKIE else _field(request, affinity)).decode("latin-1")
        session = await self._session(affinity, target, sent)
        headers: Headers = []
        if session.name != sent:
            named = session.name.encode()
            cookie = b"%b=%b; Max-Age=%d; Path=%b" % (COOKIE, named, affinity.ttl_s, _root(request.raw_path))
            headers = [
                (b"Set-Cookie", cookie) if affinity.kind == GENERATED_COOKIE else (affinity.header.encode(), named)
            ]
        return CallSession(SessionKey(session.parent, session.name, session.created_at), headers)

    async def _session(self, affinity: SessionAffinity, target: Target, sent: str) -> Record:
        """POLICY: a cookie without a usable session is replaced, because it was not chosen by its sender."""
        try:
            return await self._sessions.of_call(target, affinity, sent)
        except Invalid:
            if affinity.kind != GENERATED_COOKIE:
                raise
            return await self._sessions.of_call(target, affinity, "")

    def invoke(self, call: Invocation) -> Awaitable[Outcome]:
        """See `Engine.invoke`."""
        return self._engine.invoke(call) if call.session is None else self._in(call.session, call)

    async def _in(self, session: SessionKey, call: Invocation) -> Outcome:
        try:
            with self._sessions.in_use(session):
                return await self._engine.invoke(call)
        finally:
            if not self._sessions.is_there(session):
                # The session ended before the call got its instance, so nothing else would unbind that instance.
                self._engine.forget_session(session)


def _root(raw_path: bytes) -> bytes:
    """The function's root path. Without a path, a cookie would apply only to the directory of its request."""
    if not raw_path.startswith(PROXY_PREFIX):
        return b"/"
    return PROXY_PREFIX + b"/".join(raw_path.removeprefix(PROXY_PREFIX).split(b"/")[:2])


def _field(request: Request, affinity: SessionAffinity) -> bytes:
    return request.header(affinity.header.lower().encode()) or b""


def _cookie(request: Request) -> bytes:
    for name, value in request.headers:
        if name == b"cookie":
            for pair in value.split(b";"):
                key, _equals, sent = pair.strip().partition(b"=")
                if key == COOKIE:
                    return sent
    return b""
