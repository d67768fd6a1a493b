"""Sesame's own operations on asynchronous invocations, stateful or not, and on dead letters; for `sesame async`.

Mounted by `fc.app` below `/sesame`; each reads its request, calls `control` and shapes the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.async_invocations import AsyncInvocations
from sesame.control.dead_letters import DeadLetters
from sesame.fc import requests
from sesame.fc.async_queries import limit_of, query_of
from sesame.fc.refusals import InvalidArgument
from sesame.fc.requests import Handler
from sesame.fc.services import shapes_async
from sesame.fc.services.routes.async_invocations import ID_PREFIX, target_of
from sesame.fc.targets import qualified_owner
from sesame.model.invocation import Target


class OwnAsyncInvocationRoutes:
    def __init__(self, invocations: AsyncInvocations, letters: DeadLetters) -> None:
        self._invocations = invocations
        self._letters = letters

    def handlers(self) -> dict[str, Handler]:
        return {
            "ListAsyncInvocations": self._list,
            "GetAsyncInvocation": self._get,
            "StopAsyncInvocation": self._stop,
            "ReplayAsyncInvocation": self._replay,
            "ListDeadLetters": self._list_letters,
            "GetDeadLetter": self._get_letter,
            "ReplayDeadLetter": self._replay_letter,
        }

    async def _list(self, request: Request) -> Response:
        """The invocations of all functions, or of the one in the query, whose qualifier defaults to LATEST."""
        page = await self._invocations.list(query_of(request, _asked_for(request), ID_PREFIX, stateful_only=False))
        return requests.page_answer("invocations", [shapes_async.own(found) for found in page.items], page)

    async def _get(self, request: Request) -> Response:
        found = await self._invocations.find(target_of(request), requests.name(request, "invocation"))
        return requests.answer(shapes_async.own(found))

    async def _stop(self, request: Request) -> Response:
        await self._invocations.stop(target_of(request), requests.name(request, "invocation"))
        return requests.no_content()

    async def _replay(self, request: Request) -> Response:
        accepted = await self._invocations.replay(
            target_of(request), requests.name(request, "invocation"), request.scope[requests.REQUEST_ID]
        )
        return requests.answer(shapes_async.Replayed(accepted.invocation_id))

    async def _list_letters(self, request: Request) -> Response:
        page = await self._letters.list(request.query_params.get("nextToken", ""), limit_of(request))
        items = [shapes_async.dead_letter(letter) for letter in page.items]
        return requests.page_answer("deadLetters", items, page)

    async def _get_letter(self, request: Request) -> Response:
        return requests.answer(shapes_async.dead_letter(await self._letters.get(requests.name(request, "letter"))))

    async def _replay_letter(self, request: Request) -> Response:
        await self._letters.replay(requests.name(request, "letter"))
        return requests.no_content()


def _asked_for(request: Request) -> Target | None:
    service, function = (request.query_params.get(name, "") for name in ("service", "function"))
    if not (service or function):
        return None
    if not (service and function):
        raise InvalidArgument.missing("Function" if service else "Service")
    name, qualifier = qualified_owner(service)
    return Target(name, qualifier, function)
