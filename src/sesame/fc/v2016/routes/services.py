"""The operations on services and on what they are bound to (reference/api.md §3.1, §3.6).

Mounted by `fc.app`; each reads its request, calls `control` and shapes the answer.
"""

from collections.abc import Callable

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.control import Control
from sesame.fc import requests
from sesame.fc.requests import Handler
from sesame.fc.v2016 import shapes
from sesame.fc.v2016.inputs import ServiceInput, VpcBindingInput
from sesame.fc.v2016.shapes_account import Empty, VpcIds
from sesame.model.service import Service

_TAG_FILTER = "tag_"


class ServiceRoutes:
    def __init__(self, control: Control, log_problem: Callable[[Service], str]) -> None:
        """`log_problem` says why what functions of a service write does not get to its logstore, or ""."""
        self._log_problem = log_problem
        self._services = control.services
        self._tags = control.tags
        self._bindings = control.vpc_bindings

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateService": self._create,
            "ListServices": self._list,
            "GetService": self._get,
            "UpdateService": self._update,
            "DeleteService": self._delete,
            "CreateVpcBinding": self._bind,
            "DeleteVpcBinding": self._unbind,
            "ListVpcBindings": self._list_bindings,
        }

    async def _create(self, request: Request) -> Response:
        wanted = (await requests.body(request, ServiceInput)).neutral()
        by = requests.requester(request)
        by.confirm(_internet(True if wanted.internet_access is UNSET else wanted.internet_access))
        record = await self._services.create(wanted, by=by)
        return requests.answer(shapes.service(record), record)

    async def _get(self, request: Request) -> Response:
        record = await self._services.get(*requests.qualified_service(request))
        return requests.answer(shapes.service(record, log_problem=self._log_problem(record.document)), record)

    async def _update(self, request: Request) -> Response:
        service = requests.latest_service(request)
        wanted = (await requests.body(request, ServiceInput)).neutral()
        by = requests.requester(request)
        present = (await self._services.get(service)).document.internet_access
        by.confirm(_internet(present if wanted.internet_access is UNSET else wanted.internet_access))
        record = await self._services.update(service, wanted, requests.if_match(request), by=by)
        return requests.answer(shapes.service(record), record)

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
        items = [shapes.service(record, self._tags.of(record.name)) for record in page.items]
        return requests.page_answer("services", items, page)

    async def _bind(self, request: Request) -> Response:
        wanted = await requests.body(request, VpcBindingInput)
        await self._bindings.create(requests.latest_service(request), wanted.vpc_id)
        return requests.answer(Empty())

    async def _unbind(self, request: Request) -> Response:
        wanted = await requests.body(request, VpcBindingInput)
        await self._bindings.delete(requests.latest_service(request), wanted.vpc_id)
        return requests.answer(Empty())

    async def _list_bindings(self, request: Request) -> Response:
        return requests.answer(VpcIds(await self._bindings.list(requests.latest_service(request))))


def _internet(allowed: bool) -> dict[str, str]:
    """What conditions ask of a service that is made or changed (reference/companions.md §3.2)."""
    return {"fc:EnableServiceInternetAccess": "true" if allowed else "false"}
