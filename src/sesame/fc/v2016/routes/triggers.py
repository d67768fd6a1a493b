"""The operations on triggers (reference/api.md §3.5).

Mounted by `fc.app`; each reads its request, calls `control` and shapes the answer.
"""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.triggers import Triggers
from sesame.fc import requests
from sesame.fc.requests import Handler
from sesame.fc.v2016 import shapes
from sesame.fc.v2016.inputs import TriggerInput
from sesame.model.records import Record


class TriggerRoutes:
    def __init__(self, triggers: Triggers) -> None:
        self._triggers = triggers

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateTrigger": self._create,
            "ListTriggers": self._list,
            "GetTrigger": self._get,
            "UpdateTrigger": self._update,
            "DeleteTrigger": self._delete,
        }

    async def _create(self, request: Request) -> Response:
        record = await self._triggers.create(
            *_function(request), (await requests.body(request, TriggerInput)).neutral(), by=requests.requester(request)
        )
        return _answer(request, record)

    async def _list(self, request: Request) -> Response:
        page = await self._triggers.list(*_function(request), requests.listing(request))
        base = requests.base(request)
        return requests.page_answer("triggers", [shapes.trigger(record, base) for record in page.items], page)

    async def _get(self, request: Request) -> Response:
        record = await self._triggers.get(*_function(request), requests.name(request, "trigger"))
        return _answer(request, record)

    async def _update(self, request: Request) -> Response:
        wanted = (await requests.body(request, TriggerInput)).neutral()
        wanted = msgspec.structs.replace(wanted, trigger_name=requests.name(request, "trigger"))
        record = await self._triggers.update(
            *_function(request), wanted, requests.if_match(request), by=requests.requester(request)
        )
        return _answer(request, record)

    async def _delete(self, request: Request) -> Response:
        trigger = requests.name(request, "trigger")
        await self._triggers.delete(*_function(request), trigger, requests.if_match(request))
        return requests.no_content()


def _function(request: Request) -> tuple[str, str]:
    """A trigger belongs to the function as it is now, and carries its own qualifier."""
    return requests.latest_service(request), requests.name(request, "function")


def _answer(request: Request, record: Record) -> Response:
    return requests.answer(shapes.trigger(record, requests.base(request)), record)
