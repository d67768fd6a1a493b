"""The operations on triggers (reference/api.md §5).

Mounted by `fc.v2023.version`; each reads its request, calls `control` and shapes the answer.
"""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.triggers import Triggers
from sesame.fc import requests
from sesame.fc.requests import Handler
from sesame.fc.v2023 import paths, shapes
from sesame.fc.v2023.inputs_settings import TriggerInput
from sesame.fc.v2023.shapes import TriggerAnswer
from sesame.fc.web.local_hosts import local_url
from sesame.model.arn import Arns
from sesame.model.records import Record
from sesame.model.trigger import parts_of_parent


class TriggerRoutes:
    def __init__(self, triggers: Triggers, arns: Arns) -> None:
        self._triggers = triggers
        self._arns = arns

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateTrigger": self._create,
            "ListTriggers": self._list,
            "GetTrigger": self._get,
            "UpdateTrigger": self._update,
            "DeleteTrigger": self._delete,
        }

    async def _create(self, request: Request) -> Response:
        sent = (await requests.body(request, TriggerInput)).neutral()
        record = await self._triggers.create(*paths.function(request), sent, by=requests.requester(request))
        return self._answer(request, record)

    async def _list(self, request: Request) -> Response:
        page = await self._triggers.list(*paths.function(request), requests.listing(request))
        return requests.page_answer("triggers", [self._shape(request, record) for record in page.items], page)

    async def _get(self, request: Request) -> Response:
        record = await self._triggers.get(*paths.function(request), requests.name(request, "trigger"))
        return self._answer(request, record)

    async def _update(self, request: Request) -> Response:
        sent = (await requests.body(request, TriggerInput)).neutral()
        sent = msgspec.structs.replace(sent, trigger_name=requests.name(request, "trigger"))
        record = await self._triggers.update(*paths.function(request), sent, by=requests.requester(request))
        return self._answer(request, record)

    async def _delete(self, request: Request) -> Response:
        await self._triggers.delete(*paths.function(request), requests.name(request, "trigger"))
        return requests.no_content()

    def _answer(self, request: Request, record: Record) -> Response:
        return requests.answer(self._shape(request, record), record)

    def _shape(self, request: Request, record: Record) -> TriggerAnswer:
        owner, function = parts_of_parent(record.parent)
        url = local_url(requests.base(request), owner, function, record.document.qualifier)
        return shapes.trigger(record, self._arns, url)
