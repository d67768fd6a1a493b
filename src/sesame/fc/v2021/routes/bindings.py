"""The operations on bindings of services and functions: VPCs and event sources (reference/api.md §3.6, §4).

Mounted by `fc.v2021.version`; each parses its request, calls `control` and builds the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.event_sources import EventSources
from sesame.control.vpc import VpcBindings
from sesame.fc import requests
from sesame.fc.requests import Handler
from sesame.fc.services.inputs import VpcBindingInput
from sesame.fc.shapes import VpcIds
from sesame.fc.v2021 import shapes
from sesame.fc.v2021.inputs import EventSourceInput


class BindingRoutes:
    def __init__(self, bindings: VpcBindings, event_sources: EventSources) -> None:
        self._bindings = bindings
        self._event_sources = event_sources

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateVpcBinding": self._bind,
            "DeleteVpcBinding": self._unbind,
            "ListVpcBindings": self._list,
            "RegisterEventSource": self._register,
            "DeregisterEventSource": self._deregister,
            "ListEventSources": self._list_sources,
        }

    async def _bind(self, request: Request) -> Response:
        wanted = await requests.body(request, VpcBindingInput)
        await self._bindings.create(requests.latest_service(request), wanted.vpc_id)
        return requests.no_content()

    async def _unbind(self, request: Request) -> Response:
        await self._bindings.delete(requests.latest_service(request), requests.name(request, "vpc"))
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        return requests.answer(VpcIds(await self._bindings.list(requests.latest_service(request))))

    async def _register(self, request: Request) -> Response:
        wanted = await requests.body(request, EventSourceInput)
        record = await self._event_sources.register(*requests.qualified_function(request), wanted.source_arn)
        return requests.answer(shapes.event_source(record))

    async def _deregister(self, request: Request) -> Response:
        source = requests.name(request, "source")
        await self._event_sources.deregister(*requests.qualified_function(request), source)
        return requests.no_content()

    async def _list_sources(self, request: Request) -> Response:
        found = await self._event_sources.list(*requests.qualified_function(request))
        return requests.answer(shapes.EventSources(tuple(map(shapes.event_source, found))))
