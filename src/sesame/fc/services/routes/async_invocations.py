"""The operations on stateful asynchronous invocations (reference/api.md §3.6).

Mounted by the versions with services; each reads its request, calls `control` and shapes the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control import listing
from sesame.control.async_invocations import AsyncInvocations
from sesame.fc import requests
from sesame.fc.refusals import InvalidArgument
from sesame.fc.requests import Handler
from sesame.fc.services import shapes_async
from sesame.model import limits
from sesame.model.async_invocation import AsyncQuery, State
from sesame.model.invocation import Target

ASCENDING, DESCENDING = "asc", "desc"
_MILLISECONDS = "milliseconds since 1970"


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
        """An empty list is null."""
        page = await self._invocations.list(query_of(request, target_of(request)))
        items = [shapes_async.invocation(found) for found in page.items]
        return requests.page_answer("invocations", items or None, page)

    async def _functions(self, request: Request) -> Response:
        page = await self._invocations.functions(request.query_params.get("nextToken", ""), limit_of(request))
        items = [shapes_async.function(target) for target in page.items]
        return requests.page_answer("data", items, page)


def query_of(request: Request, target: Target | None, *, stateful_only: bool = True) -> AsyncQuery:
    """The filters of a list in the query. Raises `InvalidArgument` for values that they cannot have."""
    begin = requests.number(request, "startedTimeBegin", _MILLISECONDS)
    end = requests.number(request, "startedTimeEnd", _MILLISECONDS)
    sent = request.query_params
    order = sent.get("sortOrderByTime", "").lower() or DESCENDING
    if order not in (ASCENDING, DESCENDING):
        raise InvalidArgument.of("SortOrderByTime", f"{ASCENDING} | {DESCENDING}", order[:64])
    return AsyncQuery(
        target=target,
        stateful_only=stateful_only,
        status=_status(sent.get("status", "")),
        started_from=None if begin is None else shapes_async.first_at(begin),
        started_to=None if end is None else shapes_async.last_at(end),
        id_prefix=sent.get("invocationIdPrefix", ""),
        newest_first=order == DESCENDING,
        with_payload=requests.flag(request, "includePayload"),
        start=sent.get("nextToken", ""),
        limit=limit_of(request),
    )


def _status(sent: str) -> State | None:
    if not sent:
        return None
    try:
        return State(sent)
    except ValueError as error:
        raise InvalidArgument.of("Status", " | ".join(state.value for state in State), sent[:64]) from error


def limit_of(request: Request) -> int:
    return listing.limit_of(requests.listing(request))


def target_of(request: Request) -> Target:
    service, qualifier = requests.qualified_service(request)
    return Target(service, qualifier or limits.LATEST, requests.name(request, "function"))
