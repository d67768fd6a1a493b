"""The operations on services (reference/api.md §3.1).

Mounted by `gateway.app`; each reads its request, has `control` do it, and shapes the answer.
Never validates what a service may be: `control` does.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sesame.control.inputs import ServiceInput
from sesame.control.services import Services
from sesame.gateway import requests, shapes

COLLECTION = "/2016-08-15/services"
RESOURCE = COLLECTION + "/{service}"


class ServiceRoutes:
    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        return [
            Route(COLLECTION, self._create, methods=["POST"]),
            Route(COLLECTION, self._list, methods=["GET"]),
            Route(RESOURCE, self._get, methods=["GET"]),
            Route(RESOURCE, self._update, methods=["PUT"]),
            Route(RESOURCE, self._delete, methods=["DELETE"]),
        ]

    async def _create(self, request: Request) -> Response:
        record = await self._services.create(await requests.body(request, ServiceInput))
        return requests.answer(shapes.service(record), record)

    async def _get(self, request: Request) -> Response:
        record = await self._services.get(*requests.qualified_service(request))
        return requests.answer(shapes.service(record), record)

    async def _update(self, request: Request) -> Response:
        service = requests.latest_service(request)
        wanted = await requests.body(request, ServiceInput)
        record = await self._services.update(service, wanted, requests.if_match(request))
        return requests.answer(shapes.service(record), record)

    async def _delete(self, request: Request) -> Response:
        await self._services.delete(requests.latest_service(request), requests.if_match(request))
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        page = await self._services.list(requests.listing(request))
        return requests.page_answer("services", [shapes.service(record) for record in page.items], page)
