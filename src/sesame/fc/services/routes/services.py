"""The operations on services (reference/api.md §3.1).

Mounted by the versions with services; each reads its request, calls `control` and shapes the answer.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.control import Control
from sesame.control.inputs import ServiceInput as NeutralServiceInput
from sesame.fc import requests
from sesame.fc.requests import Handler
from sesame.fc.services import shapes
from sesame.fc.services.inputs import ServiceInput
from sesame.model.records import Record
from sesame.model.service import Service

_TAG_FILTER = "tag_"


class SentService(Protocol):
    """A body of CreateService and UpdateService."""

    def neutral(self) -> NeutralServiceInput: ...


class ServiceForm(msgspec.Struct, frozen=True):
    """How a version represents a service: the struct of bodies, and a function that builds the answer from a record.

    That function also gets the tags, if they belong in the answer, and why logs do not reach the logstore.
    """

    taken: type[msgspec.Struct] = ServiceInput
    answered: Callable[[Record, Mapping[str, str] | None, str], msgspec.Struct] = shapes.service


class ServiceRoutes:
    def __init__(self, control: Control, log_problem: Callable[[Service], str], form: ServiceForm) -> None:
        """`log_problem` returns why a service's function output does not reach its logstore, or ""."""
        self._log_problem = log_problem
        self._form = form
        self._services = control.services
        self._tags = control.tags

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateService": self._create,
            "ListServices": self._list,
            "GetService": self._get,
            "UpdateService": self._update,
            "DeleteService": self._delete,
        }

    async def _create(self, request: Request) -> Response:
        wanted = await self._sent(request)
        by = requests.requester(request)
        by.confirm(requests.internet_fact(True if wanted.internet_access is UNSET else wanted.internet_access))
        record = await self._services.create(wanted, by=by)
        return requests.answer(self._form.answered(record, None, ""), record)

    async def _get(self, request: Request) -> Response:
        record = await self._services.get(*requests.qualified_service(request))
        return requests.answer(self._form.answered(record, None, self._log_problem(record.document)), record)

    async def _update(self, request: Request) -> Response:
        service = requests.latest_service(request)
        wanted = await self._sent(request)
        by = requests.requester(request)
        present = (await self._services.get(service)).document.internet_access
        by.confirm(requests.internet_fact(present if wanted.internet_access is UNSET else wanted.internet_access))
        record = await self._services.update(service, wanted, requests.if_match(request), by=by)
        return requests.answer(self._form.answered(record, None, ""), record)

    async def _delete(self, request: Request) -> Response:
        await self._services.delete(requests.latest_service(request), requests.if_match(request))
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        wanted = {
            key.removeprefix(_TAG_FILTER): value
            for key, value in request.query_params.multi_items()
            if key.startswith(_TAG_FILTER)
        }
        page = await self._services.list(requests.listing(request), wanted)
        items = [self._form.answered(record, self._tags.of(record.name), "") for record in page.items]
        return requests.page_answer("services", items, page)

    async def _sent(self, request: Request) -> NeutralServiceInput:
        sent: SentService = await requests.body(request, self._form.taken)  # type: ignore[assignment]
        return sent.neutral()
