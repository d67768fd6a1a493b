"""The operations on stateful asynchronous invocations (reference/api.md §3.6).

Mounted by the versions with services; each reads its request, calls `control` and shapes the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.async_invocations import AsyncInvocations
from sesame.fc import requests
from sesame.fc.async_queries import limit_of, query_of
from sesame.fc.requests import Handler
from sesame.fc.services import shapes_async
from sesame.model import limits
from sesame.model.invocation import Target

ID_PREFIX = "invocationIdPrefix"


class AsyncInvocationRoutes:
    def __init__(self, invocations: AsyncInvocations) -> None:
        self._invocations = invocations

    def handlers(self) -> dict[str, Handler]:
        return {
            "GetStatefulAsyncInvocation": self._get,
            "StopStatefulAsyncInvocation": self._stop,
            "ListStatefulAsyncInvocations": self._list,
            "ListStatefulAsyncInvocationFunctions": self._functions,
        }

    async def _get(self, request: Request) -> Response:
        found = await self._invocations.get(target_of(request), requests.name(request, "invocation"))
        return requests.answer(shapes_async.invocation(found))

    async def _stop(self, request: Request) -> Response:
        target, invocation = target_of(request), requests.name(request, "invocation")
        await self._invocations.get(target, invocation)
        await self._invocations.stop(target, invocation)
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        """Answers null instead of an empty list."""
        page = await self._invocations.list(query_of(request, target_of(request), ID_PREFIX))
        items = [shapes_async.invocation(found) for found in page.items]
        return requests.page_answer("invocations", items or None, page)

    async def _functions(self, request: Request) -> Response:
        page = await self._invocations.functions(request.query_params.get("nextToken", ""), limit_of(request))
        items = [shapes_async.function(target) for target in page.items]
        return requests.page_answer("data", items, page)


def target_of(request: Request) -> Target:
    service, qualifier = requests.qualified_service(request)
    return Target(service, qualifier or limits.LATEST, requests.name(request, "function"))
