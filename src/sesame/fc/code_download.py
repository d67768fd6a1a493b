"""Serves the links to code that `fc.links` creates; not an operation of the API.

Mounted by `fc.app`. Requires a valid link, but no signature.
"""

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from sesame.fc import requests
from sesame.fc.dependencies import Packages
from sesame.fc.links import PATH_PREFIX, CodeLinks
from sesame.fc.refusals import ApiError

LINK = PATH_PREFIX + "{name}"


class CodeDownload:
    def __init__(self, packages: Packages, links: CodeLinks) -> None:
        self._packages = packages
        self._links = links

    def route(self) -> Route:
        return Route(LINK, self._follow, methods=["GET"])

    async def _follow(self, request: Request) -> Response:
        """Sends the archive as it was uploaded."""
        package = self._links.package(requests.name(request, "name"), request.scope["query_string"].decode("latin-1"))
        archive = await self._packages.fetched_archive(package)
        if archive is None:
            text = "this code is no longer kept: its function was deleted or updated"
            raise ApiError(404, "CodeNotFound", text)
        headers = {"X-Oss-Hash-Crc64ecma": package.checksum}
        return FileResponse(archive, media_type="application/zip", headers=headers)
