"""The operations on functions and their code (reference/api.md §3.2).

Mounted by the versions with services; each reads its request, calls `control` and shapes the answer.
"""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.functions import Functions
from sesame.control.inputs import FunctionInput as NeutralFunctionInput
from sesame.fc import requests
from sesame.fc.links import CodeLinks
from sesame.fc.requests import Handler
from sesame.fc.services import shapes
from sesame.fc.services.inputs import FunctionInput
from sesame.fc.shapes import CodeAnswer
from sesame.model.records import Record


class FunctionRoutes:
    def __init__(
        self,
        functions: Functions,
        links: CodeLinks,
        answered: Callable[[Record], msgspec.Struct] = shapes.function,
    ) -> None:
        """`answered` converts a record to the version's answer."""
        self._answered = answered
        self._functions = functions
        self._links = links

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateFunction": self._create,
            "ListFunctions": self._list,
            "GetFunction": self._get,
            "UpdateFunction": self._update,
            "DeleteFunction": self._delete,
            "GetFunctionCode": self._code,
        }

    async def _create(self, request: Request) -> Response:
        record = await self._functions.create(
            requests.latest_service(request), await _input(request), by=requests.requester(request)
        )
        return requests.answer(self._answered(record), record)

    async def _get(self, request: Request) -> Response:
        service, qualifier = requests.qualified_service(request)
        record = await self._functions.get(service, requests.name(request, "function"), qualifier)
        return requests.answer(self._answered(record), record)

    async def _update(self, request: Request) -> Response:
        service, function = requests.latest_service(request), requests.name(request, "function")
        record = await self._functions.update(
            service, function, await _input(request), requests.if_match(request), by=requests.requester(request)
        )
        return requests.answer(self._answered(record), record)

    async def _delete(self, request: Request) -> Response:
        service, function = requests.latest_service(request), requests.name(request, "function")
        await self._functions.delete(service, function, requests.if_match(request))
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        service, qualifier = requests.qualified_service(request)
        page = await self._functions.list(service, requests.listing(request), qualifier)
        return requests.page_answer("functions", [self._answered(record) for record in page.items], page)

    async def _code(self, request: Request) -> Response:
        """GetFunctionCode: the checksum, and a temporary link that needs no signature."""
        service, qualifier = requests.qualified_service(request)
        package = await self._functions.package(service, requests.name(request, "function"), qualifier)
        url = self._links.url(requests.base(request), package)
        return requests.answer(CodeAnswer(url=url, checksum=package.checksum))


async def _input(request: Request) -> NeutralFunctionInput:
    sent = await requests.body(request, FunctionInput)
    return sent.neutral(request.headers.get("x-fc-code-checksum"))
