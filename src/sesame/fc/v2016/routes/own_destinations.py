"""Sesame's own list of the destinations of all functions, with the reasons why records for some are not sent.

Mounted by `fc.app` below `/sesame`, for `sesame async destinations`.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.async_configs import AsyncConfigs
from sesame.destinations.routes import Routes
from sesame.fc import requests
from sesame.fc.requests import Handler
from sesame.fc.services import shapes_async


class OwnDestinationRoutes:
    def __init__(self, configs: AsyncConfigs, routes: Routes) -> None:
        self._configs = configs
        self._routes = routes

    def handlers(self) -> dict[str, Handler]:
        return {"ListAsyncDestinations": self._list}

    async def _list(self, request: Request) -> Response:
        """The page size counts configurations; a page has all destinations of its configurations."""
        page = await self._configs.with_destinations(requests.listing(request))
        items = [each for found in page.items for each in shapes_async.destinations(found, self._routes)]
        return requests.page_answer("destinations", items, page)
