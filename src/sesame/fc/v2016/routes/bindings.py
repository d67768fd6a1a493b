"""The operations on VPC bindings of services (reference/api.md §3.6).

Mounted by `fc.v2016.version`; each parses its request, calls `control` and builds the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.vpc import VpcBindings
from sesame.fc import requests
from sesame.fc.requests import Handler
from sesame.fc.services.inputs import VpcBindingInput
from sesame.fc.services.shapes_account import Empty
from sesame.fc.shapes import VpcIds


class BindingRoutes:
    def __init__(self, bindings: VpcBindings) -> None:
        self._bindings = bindings

    def handlers(self) -> dict[str, Handler]:
        return {"CreateVpcBinding": self._bind, "DeleteVpcBinding": self._unbind, "ListVpcBindings": self._list}

    async def _bind(self, request: Request) -> Response:
        wanted = await requests.body(request, VpcBindingInput)
        await self._bindings.create(requests.latest_service(request), wanted.vpc_id)
        return requests.answer(Empty())

    async def _unbind(self, request: Request) -> Response:
        wanted = await requests.body(request, VpcBindingInput)
        await self._bindings.delete(requests.latest_service(request), wanted.vpc_id)
        return requests.answer(Empty())

    async def _list(self, request: Request) -> Response:
        return requests.answer(VpcIds(await self._bindings.list(requests.latest_service(request))))
