"""The operations on functions and their code (reference/api.md §3.2).

Mounted by `fc.app`; each reads its request, calls `control` and shapes the answer.
"""

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from sesame.control.functions import Functions
from sesame.control.inputs import FunctionInput as NeutralFunctionInput
from sesame.fc.dependencies import Packages
from sesame.fc.links import PATH_PREFIX, CodeLinks
from sesame.fc.refusals import ApiError
from sesame.fc.v2016 import requests, shapes
from sesame.fc.v2016.inputs import FunctionInput
from sesame.fc.v2016.requests import Handler

LINK = PATH_PREFIX + "{name}"


class FunctionRoutes:
    def __init__(self, functions: Functions, packages: Packages, links: CodeLinks) -> None:
        self._functions = functions
        self._packages = packages
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

    def link_route(self) -> Route:
        """Where the links of GetFunctionCode lead; no operation of the API."""
        return Route(LINK, self._follow_link, methods=["GET"])

    async def _create(self, request: Request) -> Response:
        record = await self._functions.create(
            requests.latest_service(request), await _input(request), by=requests.requester(request)
        )
        return requests.answer(shapes.function(record), record)

    async def _get(self, request: Request) -> Response:
        service, qualifier = requests.qualified_service(request)
        record = await self._functions.get(service, requests.name(request, "function"), qualifier)
        return requests.answer(shapes.function(record), record)

    async def _update(self, request: Request) -> Response:
        service, function = requests.latest_service(request), requests.name(request, "function")
        record = await self._functions.update(
            service, function, await _input(request), requests.if_match(request), by=requests.requester(request)
        )
        return requests.answer(shapes.function(record), record)

    async def _delete(self, request: Request) -> Response:
        service, function = requests.latest_service(request), requests.name(request, "function")
        await self._functions.delete(service, function, requests.if_match(request))
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        service, qualifier = requests.qualified_service(request)
        page = await self._functions.list(service, requests.listing(request), qualifier)
        return requests.page_answer("functions", [shapes.function(record) for record in page.items], page)

    async def _code(self, request: Request) -> Response:
        """GetFunctionCode: the checksum, and a link that needs no signature for a while."""
        service, qualifier = requests.qualified_service(request)
        package = await self._functions.package(service, requests.name(request, "function"), qualifier)
        url = self._links.url(requests.base(request), package)
        return requests.answer(shapes.CodeAnswer(url=url, checksum=package.checksum))

    async def _follow_link(self, request: Request) -> Response:
        """The archive as it was uploaded; only holders of a valid link come here, without a signature."""
        package = self._links.package(requests.name(request, "name"), request.scope["query_string"].decode("latin-1"))
        archive = self._packages.archive(package)
        if not archive.is_file():
            text = "this code is no longer kept: its function was deleted or updated"
            raise ApiError(404, "CodeNotFound", text)
        headers = {"X-Oss-Hash-Crc64ecma": package.checksum}
        return FileResponse(archive, media_type="application/zip", headers=headers)


async def _input(request: Request) -> NeutralFunctionInput:
    sent = await requests.body(request, FunctionInput)
    return sent.neutral(request.headers.get("x-fc-code-checksum"))
