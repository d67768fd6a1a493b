"""The websocket `instances/{id}/exec`: a command in a running instance (reference/api.md §3.6).

Called by `fc.app` for every upgrade to a websocket. Accepts the upgrade once the caller is authorized and the command
runs; until then a refusal is an ordinary HTTP answer.
"""

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from sesame.engine.interface import Engine
from sesame.fc import targets, unserved
from sesame.fc.api_version import Face, Faces
from sesame.fc.auth.permissions import Permissions
from sesame.fc.auth.request_head import RequestHead, read_request
from sesame.fc.auth.verifier import Verifier
from sesame.fc.exec.session import ExecOptions, Session
from sesame.fc.headers import REQUEST_ID, request_id_of
from sesame.fc.instances import Instances
from sesame.fc.refusals import InvalidArgument, PathNotSupported
from sesame.http.interface import Disconnected, WebSocket
from sesame.model import limits
from sesame.model.clocks import Clocks
from sesame.model.command import Command
from sesame.model.errors import INSTANCE, NotFound
from sesame.model.natural import natural

NOT_A_WEBSOCKET = (
    "a command in an instance takes a websocket: send the headers of an upgrade (version 13), on a connection without "
    "another request under way"
)
DEFAULT_COMMAND = ("/bin/bash",)
IDLE_TIMEOUT_S, IDLE_TIMEOUT_MAX_S = 120, 86_400
COMMAND_BYTES_MAX = 16 * 1024


class ExecDependencies(msgspec.Struct, frozen=True):
    verifier: Verifier
    permissions: Permissions
    instances: Instances
    engine: Engine
    faces: Faces
    clocks: Clocks


class ExecEndpoint:
    def __init__(self, given: ExecDependencies) -> None:
        self._verifier = given.verifier
        self._permissions = given.permissions
        self._instances = given.instances
        self._engine = given.engine
        self._faces = given.faces
        self._clocks = given.clocks

    async def serve(self, websocket: WebSocket) -> None:
        request = websocket.request
        head = read_request("GET", request.raw_path, request.headers)
        request_id = request_id_of(head.trace_id)
        served = self._faces.names
        unserved_request = unserved.asked_of(request, served)
        face = self._faces.of(request.raw_path) or self._faces.first
        if unserved_request is not None:
            websocket.refuse(unserved.refusal(request, face.errors.date(), request_id, unserved_request, served))
            return
        try:
            await self._exec(request_id, head, websocket, face)
        except Disconnected:
            raise
        except Exception as error:
            answer = face.errors.of(error, request_id, ("GET", request.path))
            if websocket.accepted:
                raise
            websocket.refuse(face.errors.answer(request_id, answer))

    async def _exec(self, request_id: str, head: RequestHead, websocket: WebSocket, face: Face) -> None:
        request = websocket.request
        self._permissions.require(self._verifier.verify(head, request.query), head, request, "GET")
        place = face.version.naming.instance(request.raw_path, request.query)
        if place is None:
            raise PathNotSupported("GET", targets.segment(request.raw_path))
        target = place.target
        command, options = _asked(request.query)
        qualifier = "" if target.qualifier == limits.LATEST else target.qualifier
        found = await self._instances.of(target.service, qualifier, target.function)
        if place.instance_id not in found:
            raise NotFound(INSTANCE, place.instance_id, (target.service, target.function))
        async with self._engine.exec(found[place.instance_id], command) as running:
            websocket.accept([(REQUEST_ID, request_id.encode()), face.errors.date()])
            session = Session(running.execution, options, websocket, self._clocks)
            code = await session.run()
            if code is not None:
                await session.end(code, instance_ended=running.instance_ended())


def _asked(query: bytes) -> tuple[Command, ExecOptions]:
    """The command and its options from the query; unknown items are ignored."""
    items = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    argv = tuple(value for name, value in items if name == "command") or DEFAULT_COMMAND
    if not argv[0] or any("\0" in argument for argument in argv):
        raise InvalidArgument.of("Command", "a program and its arguments, without NUL", argv[0][:64])
    if sum(len(argument.encode()) for argument in argv) > COMMAND_BYTES_MAX:
        raise InvalidArgument(f"Command is too long: at most {COMMAND_BYTES_MAX} bytes are taken")
    others = dict(items)
    options = ExecOptions(
        stdin=_flag(others, "stdin", absent=True),
        stdout=_flag(others, "stdout", absent=True),
        stderr=_flag(others, "stderr", absent=True),
        tty=_flag(others, "tty", absent=False),
        idle_timeout_s=_idle_timeout(others.get("idleTimeout", "")),
    )
    return Command(argv, tty=options.tty, stdin=options.stdin), options


def _flag(items: dict[str, Any], name: str, *, absent: bool) -> bool:
    text = items.get(name, "").lower()
    if text not in ("", "true", "false"):
        raise InvalidArgument.of(name[0].upper() + name[1:], "true | false", text[:64])
    return text == "true" if text else absent


def _idle_timeout(text: str) -> int:
    if not text:
        return IDLE_TIMEOUT_S
    timeout_s = natural(text, IDLE_TIMEOUT_MAX_S)
    if not timeout_s:
        raise InvalidArgument.of("IdleTimeout", f"1 to {IDLE_TIMEOUT_MAX_S} seconds", text[:64])
    return timeout_s
