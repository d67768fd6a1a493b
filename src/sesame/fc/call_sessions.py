"""The session of a call, where its function has session affinity: found in the request, begun where it is new.

Called by `fc.invoke` and `fc.web.http_functions` for synchronous calls; asynchronous ones have no session, as in the
cloud.
"""

from collections.abc import Awaitable

import msgspec

from sesame.control.sessions import Sessions
from sesame.engine.interface import Engine
from sesame.fc.headers import Headers
from sesame.http.request import Request
from sesame.model.invocation import Invocation, Outcome, Target
from sesame.model.session import SessionKey
from sesame.model.session_affinity import SessionAffinity


class CallSession(msgspec.Struct, frozen=True):
    """`headers` of the response tell the caller an id that was made for it."""

    key: SessionKey
    headers: Headers


class CallSessions:
    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine = engine
        self._sessions = sessions

    def affinity(self, target: Target) -> SessionAffinity | None:
        return self._engine.affinity(target)

    async def of(self, affinity: SessionAffinity, target: Target, request: Request) -> CallSession:
        """Raises `Rejected` for an id that no session can have, and for a session that takes no call."""
        sent = request.header(affinity.header.lower().encode())
        session = await self._sessions.of_call(target, affinity, (sent or b"").decode("latin-1"))
        headers: Headers = []
        if not sent:
            headers = [(affinity.header.encode(), session.name.encode())]
        return CallSession(SessionKey(session.parent, session.name, session.created_at), headers)

    def invoke(self, call: Invocation) -> Awaitable[Outcome]:
        """As `Engine.invoke`."""
        return self._engine.invoke(call) if call.session is None else self._in(call.session, call)

    async def _in(self, session: SessionKey, call: Invocation) -> Outcome:
        with self._sessions.in_use(session):
            return await self._engine.invoke(call)
