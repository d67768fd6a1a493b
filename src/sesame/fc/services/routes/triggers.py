"""The operations on triggers (reference/api.md §3.5).

Mounted by the versions with services; each reads its request, calls `control` and shapes the answer.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.inputs import TriggerInput as NeutralTriggerInput
from sesame.control.triggers import Triggers
from sesame.fc import requests
from sesame.fc.requests import Handler
from sesame.fc.services import shapes
from sesame.fc.services.inputs import TriggerInput
from sesame.model.records import Record


class SentTrigger(Protocol):
    """A body of CreateTrigger and UpdateTrigger."""

    def neutral(self) -> NeutralTriggerInput: ...


class TriggerForm(msgspec.Struct, frozen=True):
    """How a version represents a trigger: the struct of bodies, and a function that builds the answer from a record.

    That function also gets the `http://host:port` under which the caller reached this server.
    """

    taken: type[msgspec.Struct] = TriggerInput
    answered: Callable[[Record, str], msgspec.Struct] = shapes.trigger


class TriggerRoutes:
    def __init__(self, triggers: Triggers, form: TriggerForm) -> None:
        self._triggers = triggers
        self._form = form

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateTrigger": self._create,
            "ListTriggers": self._list,
            "GetTrigger": self._get,
            "UpdateTrigger": self._update,
            "DeleteTrigger": self._delete,
        }

    async def _create(self, request: Request) -> Response:
        wanted = await self._sent(request)
        record = await self._triggers.create(*_function(request), wanted, by=requests.requester(request))
        return self._answer(request, record)

    async def _list(self, request: Request) -> Response:
        page = await self._triggers.list(*_function(request), requests.listing(request))
        base = requests.base(request)
        return requests.page_answer("triggers", [self._form.answered(record, base) for record in page.items], page)

    async def _get(self, request: Request) -> Response:
        record = await self._triggers.get(*_function(request), requests.name(request, "trigger"))
        return self._answer(request, record)

    async def _update(self, request: Request) -> Response:
        wanted = await self._sent(request)
        wanted = msgspec.structs.replace(wanted, trigger_name=requests.name(request, "trigger"))
        record = await self._triggers.update(
            *_function(request), wanted, requests.if_match(request), by=requests.requester(request)
        )
        return self._answer(request, record)

    async def _delete(self, request: Request) -> Response:
        trigger = requests.name(request, "trigger")
        await self._triggers.delete(*_function(request), trigger, requests.if_match(request))
        return requests.no_content()

    async def _sent(self, request: Request) -> NeutralTriggerInput:
        sent: SentTrigger = await requests.body(request, self._form.taken)  # type: ignore[assignment]
        return sent.neutral()

    def _answer(self, request: Request, record: Record) -> Response:
        return requests.answer(self._form.answered(record, requests.base(request)), record)


def _function(request: Request) -> tuple[str, str]:
    """A trigger belongs to the latest state of a function, and has its own qualifier."""
    return requests.latest_service(request), requests.name(request, "function")
