"""The operations on functions, their code, their versions and aliases (reference/api.md §5).

Mounted by `fc.v2023.version`; each reads its request, calls `control` and shapes the answer.
"""

from collections.abc import Mapping
from functools import cache, partial

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.control import Control
from sesame.control.versions import BACKWARD
from sesame.control.whole_functions import WholeFunction
from sesame.fc import requests
from sesame.fc.links import CodeLinks
from sesame.fc.requests import Handler
from sesame.fc.shapes import CodeAnswer, version
from sesame.fc.v2023 import paths, shapes
from sesame.fc.v2023.inputs import FunctionInput, Tag
from sesame.fc.v2023.inputs_settings import AliasInput, PublishInput
from sesame.fc.v2023.shapes import Beside, FunctionAnswer
from sesame.identity.authorization import Requester
from sesame.model.arn import Arns
from sesame.model.layer import parse_layer_arn
from sesame.model.owner import owner_of, stands_alone


class FunctionRoutes:
    def __init__(self, control: Control, links: CodeLinks, arns: Arns) -> None:
        self._whole = control.whole_functions
        self._functions = control.functions
        self._states = control.function_states
        self._tags = control.tags
        self._layers = control.layers
        self._links = links
        self._arns = arns

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
        sent = await requests.body(request, FunctionInput)
        by = requests.requester(request)
        by.confirm_not_denied(requests.internet_fact(sent.internet_access is UNSET or sent.internet_access))
        tags = sent.tags_by_key()
        if tags:
            # Checked here because the path does not name the function.
            by.require("fc:TagResources", self._arns.owner(owner_of(str(sent.function_name or ""))))
        whole = await self._whole.create(sent.of_function(), sent.of_owner(), tags, by=by)
        if sent.resource_group_id:
            await self._states.move_to_group(whole.function.parent, whole.function.name, sent.resource_group_id)
        return self._answer(whole)

    async def _get(self, request: Request) -> Response:
        owner, function, qualifier = paths.qualified_function(request)
        return self._answer(await self._whole.get(owner, function, qualifier), qualifier)

    async def _update(self, request: Request) -> Response:
        sent = await requests.body(request, FunctionInput)
        owner, function = paths.function(request)
        by = requests.requester(request)
        if sent.internet_access is not UNSET:
            by.confirm_not_denied(requests.internet_fact(sent.internet_access))
        return self._answer(await self._whole.update(owner, function, sent.of_function(), sent.of_owner(), by=by))

    async def _delete(self, request: Request) -> Response:
        await self._whole.delete(*paths.function(request))
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        """Filters are combined. `fcVersion` is v3 for functions without a service, v2 for those of services.

        Functions of a service are omitted if the caller may not list that service's functions.
        """
        query = request.query_params
        tags = paths.document(request, "tags", list[Tag], 'a JSON list of {"Key": …, "Value": …}') or []
        wanted = msgspec.structs.replace(requests.listing(request), start_key="")
        may_see = cache(partial(self._may_see, requests.requester(request)))

        def is_wanted(whole: WholeFunction) -> bool:
            document = whole.function.document
            found = {
                "functionName": query.get("functionName", "") in whole.name,
                "description": query.get("description", "") in document.description,
                "runtime": query.get("runtime", "") in ("", document.runtime),
                "gpuType": query.get("gpuType", "") in ("", document.later.gpu_type),
                "resourceGroupId": query.get("resourceGroupId", "") in ("", self._group(whole)),
                "tags": _has_all(self._tags.of(whole.owner.name), tags),
            }
            return all(found.values()) and may_see(whole.owner.name)

        page = await self._whole.list(wanted, query.get("fcVersion", ""), is_wanted)
        return requests.page_answer("functions", [self._shape(whole) for whole in page.items], page)

    async def _code(self, request: Request) -> Response:
        """The checksum, and a temporary link that needs no signature."""
        package = await self._functions.package(*paths.qualified_function(request))
        url = self._links.url(requests.base(request), package)
        return requests.answer(CodeAnswer(url=url, checksum=package.checksum))

    def _may_see(self, by: Requester, owner: str) -> bool:
        """For functions without a service, the path's permission was already checked."""
        if stands_alone(owner):
            return True
        return by.may("fc:ListFunctions", f"{self._arns.service(owner)}/functions/*", self._tags.of(owner))

    def _group(self, whole: WholeFunction) -> str:
        return self._states.of(whole.function.parent, whole.function.name).resource_group_id

    def _answer(self, whole: WholeFunction, qualifier: str = "") -> Response:
        return requests.answer(self._shape(whole, qualifier), whole.function)

    def _shape(self, whole: WholeFunction, qualifier: str = "") -> FunctionAnswer:
        owner, document = whole.function.parent, whole.function.document
        beside = Beside(
            state=self._states.of(owner, whole.function.name),
            tags=self._tags.of(owner),
            layer_sizes=dict(self._sizes(document.layers)),
        )
        return shapes.function(whole, self._arns, beside, qualifier)

    def _sizes(self, layers: tuple[str, ...]) -> list[tuple[str, int]]:
        """Includes layers that have since been deleted: functions that use them keep them."""
        named = ((arn, parse_layer_arn(arn)) for arn in layers)
        return [(arn, self._layers.size_of(*found)) for arn, found in named if found is not None]


class VersionRoutes:
    def __init__(self, control: Control) -> None:
        self._versions = control.versions
        self._aliases = control.aliases

    def handlers(self) -> dict[str, Handler]:
        return {
            "PublishFunctionVersion": self._publish,
            "ListFunctionVersions": self._list_versions,
            "DeleteFunctionVersion": self._delete_version,
            "CreateAlias": self._create,
            "ListAliases": self._list,
            "GetAlias": self._get,
            "UpdateAlias": self._update,
            "DeleteAlias": self._delete,
        }

    async def _publish(self, request: Request) -> Response:
        sent = (await requests.body(request, PublishInput)).neutral()
        record = await self._versions.publish(_owner(request), sent)
        return requests.answer(version(record), record)

    async def _list_versions(self, request: Request) -> Response:
        direction = request.query_params.get("direction", "") or BACKWARD
        wanted = msgspec.structs.replace(requests.listing(request), start_key="")
        page = await self._versions.list(_owner(request), wanted, direction)
        items = [version(record) for record in page.items]
        return requests.page_answer("versions", items, page, direction=direction)

    async def _delete_version(self, request: Request) -> Response:
        await self._versions.delete(_owner(request), requests.name(request, "version"))
        return requests.no_content()

    async def _create(self, request: Request) -> Response:
        record = await self._aliases.create(_owner(request), (await requests.body(request, AliasInput)).neutral())
        return requests.answer(shapes.alias(record), record)

    async def _get(self, request: Request) -> Response:
        record = await self._aliases.get(_owner(request), requests.name(request, "alias"))
        return requests.answer(shapes.alias(record), record)

    async def _update(self, request: Request) -> Response:
        sent = (await requests.body(request, AliasInput)).neutral()
        record = await self._aliases.update(_owner(request), requests.name(request, "alias"), sent)
        return requests.answer(shapes.alias(record), record)

    async def _delete(self, request: Request) -> Response:
        await self._aliases.delete(_owner(request), requests.name(request, "alias"))
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        page = await self._aliases.list(_owner(request), requests.listing(request))
        return requests.page_answer("aliases", [shapes.alias(record) for record in page.items], page)


def _owner(request: Request) -> str:
    """The owner of the function's versions: for a function of a service, the service."""
    owner, _function = paths.function(request)
    return owner


def _has_all(tags: Mapping[str, str], wanted: list[Tag]) -> bool:
    """A wanted tag without a value matches any value of its key."""
    return all(tag.key in tags and tag.value in ("", tags[tag.key]) for tag in wanted)
