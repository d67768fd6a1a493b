"""The operations on running instances (reference/api.md §3.6).

Mounted by the versions with services; lists the engine's instances.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.inputs import Page
from sesame.fc import requests
from sesame.fc.exec.endpoint import NOT_A_WEBSOCKET
from sesame.fc.instances import Instances
from sesame.fc.refusals import InvalidArgument
from sesame.fc.requests import Handler
from sesame.fc.services.shapes_account import InstanceAnswer
from sesame.model import limits

LIMIT_MAX = 1000


class InstanceRoutes:
    def __init__(self, instances: Instances) -> None:
        self._instances = instances

    def handlers(self) -> dict[str, Handler]:
        return {"ListInstances": self._list, "InstanceExec": self._exec}

    async def _list(self, request: Request) -> Response:
        """The instances of the qualifier's version; for an alias, of every version it refers to."""
        service, qualifier = requests.qualified_service(request)
        function = requests.name(request, "function")
        running = await self._instances.of(service, qualifier, function)
        found = {name: instance.version_id for name, instance in running.items()}
        wanted = requests.repeated(request, "instanceIds")
        start = request.query_params.get("nextToken", "")
        names = sorted(name for name in found if name >= start and (not wanted or name in wanted))
        limit = requests.limit(request, LIMIT_MAX, limits.LIST_LIMIT_DEFAULT)
        page = Page((), names[limit] if len(names) > limit else None)
        items = [InstanceAnswer(name, found[name]) for name in names[:limit]]
        return requests.page_answer("instances", items, page)

    async def _exec(self, request: Request) -> Response:
        """Refuses requests without a websocket upgrade; `fc.exec.endpoint` serves the others."""
        raise InvalidArgument(NOT_A_WEBSOCKET)
