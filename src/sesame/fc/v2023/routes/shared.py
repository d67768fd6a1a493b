"""The operations on resources shared by several functions: layers and custom domains.

Mounted by `fc.v2023.version`; each parses its request, calls `control` and builds the answer (reference/api.md §5).
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.control import Control
from sesame.fc import requests
from sesame.fc.links import CodeLinks
from sesame.fc.refusals import InvalidArgument
from sesame.fc.requests import Handler
from sesame.fc.v2023 import shapes_settings
from sesame.fc.v2023.inputs_settings import CustomDomainInput, LayerInput
from sesame.fc.v2023.shapes_settings import LayerAnswer
from sesame.model.arn import Arns
from sesame.model.records import Record

# Whether a layer is public.
_ACL = {"": False, "0": False, "1": True}


class LayerRoutes:
    def __init__(self, control: Control, links: CodeLinks, arns: Arns) -> None:
        self._layers = control.layers
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
        sent = await requests.body(request, LayerInput)
        layer, by = requests.name(request, "layer"), requests.requester(request)
        record = await self._layers.create_version(layer, sent.neutral(), by=by)
        return requests.answer(self._shape(request, record), record)

    async def _list_versions(self, request: Request) -> Response:
        """This list's token is a number, and has its own name."""
        start = requests.number(request, "startVersion", "the number of a version")
        page = await self._layers.versions(requests.name(request, "layer"), start, requests.listing(request).limit)
        document: dict[str, Any] = {"layers": [self._shape(request, record) for record in page.items]}
        if page.next_token is not None:
            document["nextVersion"] = int(page.next_token)
        return requests.answer(document)

    async def _get(self, request: Request) -> Response:
        record = await self._layers.get_version(requests.name(request, "layer"), requests.name(request, "version"))
        return requests.answer(self._shape(request, record), record)

    async def _delete(self, request: Request) -> Response:
        await self._layers.delete_version(requests.name(request, "layer"), requests.name(request, "version"))
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        public, official = requests.flag(request, "public"), requests.flag(request, "official")
        page = await self._layers.list(requests.listing(request), public=public, official=official)
        return requests.page_answer("layers", [self._shape(request, record) for record in page.items], page)

    async def _get_by_arn(self, request: Request) -> Response:
        record = await self._layers.by_arn(requests.name(request, "arn"))
        return requests.answer(self._shape(request, record), record)

    async def _share(self, request: Request) -> Response:
        """`acl` is the newer name of `public`."""
        acl = request.query_params.get("acl", "")
        if acl not in _ACL:
            raise InvalidArgument.of("Acl", "0 | 1", acl[:64])
        await self._layers.share(requests.name(request, "layer"), public=_ACL[acl] or requests.flag(request, "public"))
        return requests.no_content()

    def _shape(self, request: Request, record: Record) -> LayerAnswer:
        location = self._links.url(requests.base(request), record.document.package)
        public = self._layers.is_public(record.document.layer_name)
        return shapes_settings.layer(record, self._arns, location, public=public)


class DomainRoutes:
    def __init__(self, control: Control, arns: Arns) -> None:
        self._domains = control.domains
        self._account_id = arns.account_id

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateCustomDomain": self._create,
            "ListCustomDomains": self._list,
            "GetCustomDomain": self._get,
            "UpdateCustomDomain": self._update,
            "DeleteCustomDomain": self._delete,
        }

    async def _create(self, request: Request) -> Response:
        sent = (await requests.body(request, CustomDomainInput)).neutral()
        return self._answer(await self._domains.create(sent, by=requests.requester(request)))

    async def _list(self, request: Request) -> Response:
        page = await self._domains.list(requests.listing(request))
        items = [shapes_settings.domain(record, self._account_id) for record in page.items]
        return requests.page_answer("customDomains", items, page)

    async def _get(self, request: Request) -> Response:
        return self._answer(await self._domains.get(requests.name(request, "domain")))

    async def _update(self, request: Request) -> Response:
        sent = (await requests.body(request, CustomDomainInput)).neutral()
        by = requests.requester(request)
        return self._answer(await self._domains.update(requests.name(request, "domain"), sent, by=by))

    async def _delete(self, request: Request) -> Response:
        await self._domains.delete(requests.name(request, "domain"))
        return requests.no_content()

    def _answer(self, record: Record) -> Response:
        return requests.answer(shapes_settings.domain(record, self._account_id), record)
