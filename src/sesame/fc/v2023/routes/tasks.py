"""The operations on asynchronous invocations, which this API calls tasks (reference/api.md §5).

Mounted by `fc.v2023.version`; each reads its request, calls `control` and shapes the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.async_invocations import AsyncInvocations
from sesame.fc import requests
from sesame.fc.async_queries import query_of
from sesame.fc.requests import Handler
from sesame.fc.v2023 import paths, shapes_async
from sesame.model.arn import Arns


class TaskRoutes:
    def __init__(self, invocations: AsyncInvocations, arns: Arns) -> None:
        self._invocations = invocations
        self._arns = arns

    def handlers(self) -> dict[str, Handler]:
        return {"GetAsyncTask": self._get, "ListAsyncTasks": self._list, "StopAsyncTask": self._stop}

    async def _get(self, request: Request) -> Response:
        found = await self._invocations.get(paths.target(request), requests.name(request, "task"))
        return requests.answer(shapes_async.task(found, self._arns))

    async def _stop(self, request: Request) -> Response:
        target, task = paths.target(request), requests.name(request, "task")
        await self._invocations.get(target, task)
        await self._invocations.stop(target, task)
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        page = await self._invocations.list(query_of(request, paths.target(request), "prefix"))
        return requests.page_answer("tasks", [shapes_async.task(found, self._arns) for found in page.items], page)
