"""The operations on running instances (reference/api.md §3.6).

Mounted by `gateway.app`; reads what the engine has running.
Never starts or stops an instance.
"""

from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.inputs import Page
from sesame.gateway import requests
from sesame.gateway.parts import Control, RunningInstance
from sesame.gateway.requests import Handler
from sesame.gateway.shapes_account import InstanceAnswer
from sesame.model import limits
from sesame.model.errors import InvalidArgument

LIMIT_MAX = 1000


class InstanceRoutes:
    def __init__(self, control: Control, instances: Callable[[], Iterable[RunningInstance]]) -> None:
        self._functions = control.functions
        self._aliases = control.aliases
        self._instances = instances

    def handlers(self) -> dict[str, Handler]:
        return {"ListInstances": self._list}

    async def _list(self, request: Request) -> Response:
        """Of the state that the qualifier means; of an alias, of every version that it sends calls to."""
        service, qualifier = requests.qualified_service(request)
        function = requests.name(request, "function")
        await self._functions.get(service, function, qualifier)
        versions = await self._versions(service, qualifier)
        found = {
            instance.instance_id: instance.snapshot.version_id
            for instance in self._instances()
            if instance.snapshot.version_id in versions
            and instance.snapshot.service.service_name == service
            and instance.snapshot.function.function_name == function
        }
        wanted = request.query_params.getlist("instanceIds")
        start = request.query_params.get("nextToken", "")
        names = sorted(name for name in found if name >= start and (not wanted or name in wanted))
        limit = requests.number(request, "limit", f"1 to {LIMIT_MAX}") or limits.LIST_LIMIT_DEFAULT
        if not 1 <= limit <= LIMIT_MAX:
            raise InvalidArgument.of("Limit", f"1 to {LIMIT_MAX}", limit)
        page = Page((), names[limit] if len(names) > limit else None)
        items = [InstanceAnswer(name, found[name]) for name in names[:limit]]
        return requests.page_answer("instances", items, page)

    async def _versions(self, service: str, qualifier: str) -> set[str]:
        if not qualifier:
            return {limits.LATEST}
        if qualifier.isdecimal():
            return {qualifier}
        alias = (await self._aliases.get(service, qualifier)).document
        return {alias.version_id, *(alias.additional_version_weight or {})}
