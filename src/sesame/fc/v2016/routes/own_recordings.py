"""Sesame's own operations on recorded calls, for `sesame record`, `replay` and `compare`.

Mounted by `fc.app` below `/sesame`; each parses its request, calls `control.recorder` or `fc.replays`, and answers.
"""

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.recorder import Recorder
from sesame.fc import requests
from sesame.fc.body import read_body
from sesame.fc.replays import Replays
from sesame.fc.requests import Handler
from sesame.fc.services.inputs import RecordingConfigInput, ReplayInput
from sesame.fc.v2016.shapes_recordings import Deleted, RecordingConfigAnswer
from sesame.model import limits
from sesame.model.errors import Missing
from sesame.model.invocation import Target

LIST_MAX = 100


class OwnRecordingRoutes:
    def __init__(self, recorder: Recorder, replays: Replays) -> None:
        self._recorder = recorder
        self._replays = replays

    def handlers(self) -> dict[str, Handler]:
        return {
            "ListRecordings": self._list,
            "GetRecording": self._get,
            "DeleteRecordings": self._delete,
            "ReplayRecording": self._replay,
            "PutRecordingConfig": self._put_config,
            "GetRecordingConfig": self._get_config,
            "TryFunction": self._try,
            "CheckFunctionSources": self._check,
        }

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        limit = requests.limit(request, LIST_MAX, LIST_MAX)
        before = requests.number(request, "nextToken", "the nextToken of an answer")
        found = await self._recorder.list(query.get("service", ""), query.get("function", ""), before, limit + 1)
        answer: dict[str, object] = {"recordings": found[:limit]}
        if len(found) > limit:
            answer["nextToken"] = str(found[limit - 1].seq)
        return requests.answer(answer)

    async def _get(self, request: Request) -> Response:
        return requests.answer(await self._recorder.find(requests.name(request, "request")))

    async def _delete(self, request: Request) -> Response:
        query = request.query_params
        deleted = await self._recorder.delete(query.get("service", ""), query.get("function", ""))
        return requests.answer(Deleted(deleted))

    async def _replay(self, request: Request) -> Response:
        recording = await self._recorder.find(requests.name(request, "request"))
        sent = await requests.body(request, ReplayInput)
        code = None if sent.code is UNSET else sent.code.neutral()
        runtime = "" if sent.runtime is UNSET else sent.runtime
        return requests.answer(await self._replays.replay(recording, runtime, code, requests.requester(request)))

    async def _put_config(self, request: Request) -> Response:
        service, function = requests.latest_service(request), requests.name(request, "function")
        sent = await requests.body(request, RecordingConfigInput)
        if sent.mode is UNSET:
            raise Missing("mode")
        await self._recorder.set(service, function, None if sent.mode == "server" else sent.mode)
        return requests.answer(self._config(service, function))

    async def _get_config(self, request: Request) -> Response:
        return requests.answer(self._config(requests.latest_service(request), requests.name(request, "function")))

    def _config(self, service: str, function: str) -> RecordingConfigAnswer:
        recorder = self._recorder
        return RecordingConfigAnswer(
            mode=recorder.mode_of(service, function), own=recorder.is_set(service, function), server=recorder.mode
        )

    async def _try(self, request: Request) -> Response:
        event = await read_body(request.scope[requests.EXCHANGE], limits.SYNC_PAYLOAD_BYTES)
        tried = await self._replays.attempt(_target(request), event, request.query_params.get("runtime", ""))
        return requests.answer(tried)

    async def _check(self, request: Request) -> Response:
        runtime = request.query_params.get("runtime", "")
        return requests.answer(await self._replays.check(_target(request), runtime, requests.requester(request)))


def _target(request: Request) -> Target:
    service, qualifier = requests.qualified_service(request)
    return Target(service, qualifier or limits.LATEST, requests.name(request, "function"))
