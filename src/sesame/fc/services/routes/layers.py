"""The operations on layers (reference/api.md §3.6).

Mounted by the versions with services; each reads its request, calls `control` and shapes the answer.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.layers import Layers
from sesame.fc import requests
from sesame.fc.links import CodeLinks
from sesame.fc.requests import Done, Handler
from sesame.fc.services import shapes_account
from sesame.fc.services.inputs import LayerInput
from sesame.fc.services.shapes_account import Empty, LayerAnswer
from sesame.model.arn import Arns
from sesame.model.records import Record


class LayerForm(msgspec.Struct, frozen=True):
    """A version's answers to CreateLayerVersion and to the sharing of a layer."""

    created: Callable[[LayerAnswer], msgspec.Struct] = lambda answer: answer
    shared: Done = lambda _request: requests.answer(Empty())


class LayerRoutes:
    def __init__(self, layers: Layers, links: CodeLinks, arns: Arns, form: LayerForm) -> None:
        self._form = form
        self._layers = layers
        self._links = links
        self._arns = arns

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateLayerVersion": self._create,
            "ListLayerVersions": self._list_versions,
            "GetLayerVersion": self._get,
            "DeleteLayerVersion": self._delete,
            "ListLayers": self._list,
            "GetLayerVersionByArn": self._get_by_arn,
            "PutLayerACL": self._share,
        }

    async def _create(self, request: Request) -> Response:
        layer = requests.name(request, "layer")
        sent = (await requests.body(request, LayerInput)).neutral()
        record = await self._layers.create_version(layer, sent, by=requests.requester(request))
        return requests.answer(self._form.created(self._shape(request, record)), record)

    async def _list_versions(self, request: Request) -> Response:
        """This list's token is a number, and has its own name."""
        start = requests.number(request, "startVersion", "the number of a version")
        limit = requests.listing(request).limit
        page = await self._layers.versions(requests.name(request, "layer"), start, limit)
        document: dict[str, Any] = {"layers": [self._shape(request, record) for record in page.items]}
        if page.next_token is not None:
            document["nextVersion"] = int(page.next_token)
        return requests.answer(document)

    async def _get(self, request: Request) -> Response:
        layer, version = requests.name(request, "layer"), requests.name(request, "version")
        record = await self._layers.get_version(layer, version)
        return requests.answer(self._shape(request, record), record)

    async def _delete(self, request: Request) -> Response:
        await self._layers.delete_version(requests.name(request, "layer"), requests.name(request, "version"))
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        """One official client sends `isPublic`, the others `public`."""
        page = await self._layers.list(
            requests.listing(request),
            public=requests.flag(request, "public") or requests.flag(request, "isPublic"),
            official=requests.flag(request, "official"),
        )
        return requests.page_answer("layers", [self._shape(request, record) for record in page.items], page)

    async def _get_by_arn(self, request: Request) -> Response:
        record = await self._layers.by_arn(requests.name(request, "arn"))
        return requests.answer(self._shape(request, record), record)

    async def _share(self, request: Request) -> Response:
        public = requests.flag(request, "public") or requests.flag(request, "isPublic")
        await self._layers.share(requests.name(request, "layer"), public=public)
        return self._form.shared(request)

    def _shape(self, request: Request, record: Record) -> LayerAnswer:
        location = self._links.url(requests.base(request), record.document.package)
        public = self._layers.is_public(record.document.layer_name)
        return shapes_account.layer(record, self._arns, location, public=public)
