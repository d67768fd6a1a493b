"""The operations on sessions, their snapshots, and running instances (reference/api.md §5).

Mounted by `fc.v2023.version`; each parses its request, calls `control` or the engine, and builds the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.control import Control
from sesame.control.inputs import Listing
from sesame.engine.interface import Engine
from sesame.fc import requests
from sesame.fc.exec.endpoint import NOT_A_WEBSOCKET
from sesame.fc.instances import Instances
from sesame.fc.milliseconds import milliseconds
from sesame.fc.refusals import InvalidArgument
from sesame.fc.requests import REQUEST_ID, Handler
from sesame.fc.v2023 import paths, shapes_settings
from sesame.fc.v2023.inputs_settings import SessionInput, SnapshotInput
from sesame.fc.v2023.naming import function_named
from sesame.model import limits
from sesame.model.invocation import Target
from sesame.model.owner import spoken_function
from sesame.model.records import Record
from sesame.model.session import ACTIVE, EXPIRED, PAUSED, Session, session_parent
from sesame.model.trigger import parts_of_parent

INSTANCES_LIMIT_MAX = 1000


class SessionRoutes:
    def __init__(self, control: Control, engine: Engine) -> None:
        self._sessions = control.sessions
        self._engine = engine

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateSession": self._create,
            "GetSession": self._get,
            "UpdateSession": self._update,
            "DeleteSession": self._delete,
            "ListSessions": self._list,
            "PauseSession": self._pause,
            "ResumeSession": self._resume,
            "CreateSnapshot": self._create_snapshot,
            "GetSnapshot": self._get_snapshot,
            "DeleteSnapshot": self._delete_snapshot,
            "ListSnapshots": self._list_snapshots,
        }

    async def _create(self, request: Request) -> Response:
        sent = (await requests.body(request, SessionInput)).neutral()
        record = await self._sessions.create(*paths.qualified_function(request), sent)
        return self._answer(record)

    async def _get(self, request: Request) -> Response:
        return self._answer(await self._sessions.get(*_named(request)))

    async def _update(self, request: Request) -> Response:
        sent = (await requests.body(request, SessionInput)).neutral()
        return self._answer(await self._sessions.update(*_named(request), sent))

    async def _delete(self, request: Request) -> Response:
        await self._sessions.delete(*_named(request))
        return requests.no_content()

    async def _pause(self, request: Request) -> Response:
        return self._answer(await self._sessions.set_paused(*_named(request), paused=True))

    async def _resume(self, request: Request) -> Response:
        return self._answer(await self._sessions.set_paused(*_named(request), paused=False))

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        sent = requests.listing(request)
        owner, function, qualifier = paths.qualified_function(request)
        status, session_id = query.get("sessionStatus", ""), query.get("sessionId", "")
        if status not in ("", ACTIVE, PAUSED, EXPIRED):
            raise InvalidArgument.of("SessionStatus", f"{ACTIVE} | {PAUSED} | {EXPIRED}", status[:64])

        def is_wanted(session: Session) -> bool:
            return (
                session_id in ("", session.session_id)
                and status in ("", session.status)
                and qualifier in ("", session.qualifier)
            )

        page = await self._sessions.list(
            owner, function, Listing(next_token=sent.next_token, limit=sent.limit), is_wanted
        )
        items = [self._shown(record) for record in page.items]
        return requests.page_answer("sessions", items, page)

    async def _create_snapshot(self, request: Request) -> Response:
        sent = await requests.body(request, SnapshotInput)
        if not sent.session_id:
            raise InvalidArgument.missing("SessionId")
        record = await self._sessions.snapshot(paths.target(request), sent.session_id, sent.description)
        return requests.answer(shapes_settings.snapshot(record, _function_of(record)))

    async def _get_snapshot(self, request: Request) -> Response:
        owner, function = paths.function(request)
        record = await self._sessions.get_snapshot(owner, function, requests.name(request, "snapshot"))
        return requests.answer(shapes_settings.snapshot(record, _function_of(record)))

    async def _delete_snapshot(self, request: Request) -> Response:
        owner, function = paths.function(request)
        await self._sessions.delete_snapshot(owner, function, requests.name(request, "snapshot"))
        return requests.no_content()

    async def _list_snapshots(self, request: Request) -> Response:
        query = request.query_params
        name = query.get("functionName", "")
        parent = session_parent(*function_named(name)) if name else ""

        def is_wanted(record: Record) -> bool:
            document = record.document
            return (
                parent in ("", record.parent)
                and query.get("sessionId", "") in ("", document.session_id)
                and query.get("qualifier", "") in ("", document.qualifier)
            )

        page = await self._sessions.list_snapshots(requests.listing(request), is_wanted)
        items = [shapes_settings.snapshot(record, _function_of(record)) for record in page.items]
        return requests.page_answer("snapshots", items, page)

    def _shown(self, record: Record) -> shapes_settings.SessionAnswer:
        instance_id = self._engine.session_instance(record.parent, record.name)
        return shapes_settings.session(record, _function_of(record), instance_id)

    def _answer(self, record: Record) -> Response:
        return requests.answer(self._shown(record))


class InstanceRoutes:
    def __init__(self, instances: Instances) -> None:
        self._instances = instances

    def handlers(self) -> dict[str, Handler]:
        return {"ListInstances": self._list, "InstanceExec": self._exec}

    async def _list(self, request: Request) -> Response:
        """Lists running instances. Instances that have ended are not stored, so none has another status.

        With an interval, lists those that existed in it. `startTimeMs` excludes none, because all listed instances
        still exist.
        """
        owner, function, qualifier = paths.qualified_function(request)
        running = await self._instances.of(owner, qualifier, function)
        wanted = paths.document(request, "instanceIds", list[str], "a JSON list of ids") or []
        states = paths.document(request, "instanceStatus", list[str], "a JSON list of states")
        if states and shapes_settings.RUNNING not in states:
            running = {}
        until_ms = requests.number(request, "endTimeMs", "a time in milliseconds since 1970")
        requests.number(request, "startTimeMs", "a time in milliseconds since 1970")
        with_all = requests.flag(request, "withAllActive")
        if until_ms is not None and not with_all:
            running = {name: each for name, each in running.items() if milliseconds(each.created_at) <= until_ms}
        start = request.query_params.get("startKey", "")
        limit = requests.limit(request, INSTANCES_LIMIT_MAX, limits.LIST_LIMIT_DEFAULT)
        names = sorted(name for name in running if name >= start and (not wanted or name in wanted))
        items = [shapes_settings.instance(running[name], qualifier or limits.LATEST) for name in names[:limit]]
        return requests.answer({"instances": items, "requestId": request.scope[REQUEST_ID]})

    async def _exec(self, request: Request) -> Response:
        """Refuses requests without a websocket upgrade; `fc.exec.endpoint` serves the others."""
        raise InvalidArgument(NOT_A_WEBSOCKET)


def _named(request: Request) -> tuple[Target, str]:
    """A session belongs to the qualifier for which it was created; without one in the query, to LATEST."""
    return paths.target(request), requests.name(request, "session")


def _function_of(record: Record) -> str:
    return spoken_function(*parts_of_parent(record.parent))
