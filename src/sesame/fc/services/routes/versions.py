"""The operations on versions and aliases (reference/api.md §3.4).

Mounted by the versions with services; each reads its request, calls `control` and shapes the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.control import Control
from sesame.control.versions import BACKWARD
from sesame.fc import requests
from sesame.fc.requests import Handler
from sesame.fc.services import shapes
from sesame.fc.services.inputs import AliasInput, PublishInput
from sesame.fc.shapes import version

_UNCHANGED_IS_FINE = "x-fc-ignore-version-publish-error"


class VersionRoutes:
    def __init__(self, control: Control) -> None:
        self._versions = control.versions
        self._aliases = control.aliases

    def handlers(self) -> dict[str, Handler]:
        return {
            "PublishVersion": self._publish,
            "ListVersions": self._list_versions,
            "DeleteVersion": self._delete_version,
            "CreateAlias": self._create_alias,
            "ListAliases": self._list_aliases,
            "GetAlias": self._get_alias,
            "UpdateAlias": self._update_alias,
            "DeleteAlias": self._delete_alias,
        }

    async def _publish(self, request: Request) -> Response:
        record = await self._versions.publish(
            _owner(request),
            (await requests.body(request, PublishInput)).neutral(),
            requests.if_match(request),
            unchanged_is_fine=request.headers.get(_UNCHANGED_IS_FINE, "").lower() == "true",
        )
        return requests.answer(version(record), record)

    async def _list_versions(self, request: Request) -> Response:
        direction = request.query_params.get("direction", "")
        page = await self._versions.list(_owner(request), requests.listing(request), direction)
        items = [version(record) for record in page.items]
        return requests.page_answer("versions", items, page, direction=direction or BACKWARD)

    async def _delete_version(self, request: Request) -> Response:
        await self._versions.delete(_owner(request), requests.name(request, "version"))
        return requests.no_content()

    async def _create_alias(self, request: Request) -> Response:
        wanted = (await requests.body(request, AliasInput)).neutral()
        record = await self._aliases.create(_owner(request), wanted)
        return requests.answer(shapes.alias(record), record)

    async def _list_aliases(self, request: Request) -> Response:
        page = await self._aliases.list(_owner(request), requests.listing(request))
        return requests.page_answer("aliases", [shapes.alias(record) for record in page.items], page)

    async def _get_alias(self, request: Request) -> Response:
        record = await self._aliases.get(_owner(request), requests.name(request, "alias"))
        return requests.answer(shapes.alias(record), record)

    async def _update_alias(self, request: Request) -> Response:
        owner, alias = _owner(request), requests.name(request, "alias")
        wanted = (await requests.body(request, AliasInput)).neutral()
        record = await self._aliases.update(owner, alias, wanted, requests.if_match(request))
        return requests.answer(shapes.alias(record), record)

    async def _delete_alias(self, request: Request) -> Response:
        owner, alias = _owner(request), requests.name(request, "alias")
        await self._aliases.delete(owner, alias, requests.if_match(request))
        return requests.no_content()


def _owner(request: Request) -> str:
    """Only the latest state of a service can be published."""
    return requests.latest_service(request)
