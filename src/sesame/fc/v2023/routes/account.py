"""The operations on tags, resource groups and regions (reference/api.md §5).

Mounted by `fc.v2023.version`. The body or the query names the functions, so permissions are checked here.
"""

from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from sesame.control import listing
from sesame.control.control import Control
from sesame.control.inputs import Listing
from sesame.fc import requests
from sesame.fc.refusals import InvalidArgument
from sesame.fc.requests import REQUEST_ID, Handler
from sesame.fc.v2023 import paths, shapes_settings
from sesame.fc.v2023.inputs import Tag, by_key
from sesame.fc.v2023.inputs_settings import GroupInput, TagInput
from sesame.fc.v2023.naming import function_named
from sesame.fc.v2023.shapes_settings import TagResource
from sesame.model import limits
from sesame.model.arn import Arns, parse_function_arn
from sesame.model.owner import owner_of, spoken_function, stands_alone

FUNCTION = "function"
_NAMES = "a JSON list of names or ARNs of functions"
_ALL_NAMED_AT_ONCE = 50


class AccountRoutes:
    def __init__(self, control: Control, arns: Arns) -> None:
        self._tags = control.tags
        self._functions = control.functions
        self._states = control.function_states
        self._arns = arns

    def handlers(self) -> dict[str, Handler]:
        return {
            "TagResources": self._tag,
            "UntagResources": self._untag,
            "ListTagResources": self._list,
            "ChangeResourceGroup": self._change_group,
            "DescribeRegions": self._regions,
        }

    async def _tag(self, request: Request) -> Response:
        sent = await requests.body(request, TagInput)
        owners = await self._owners(request, "fc:TagResources", sent.resource_type, sent.resource_id)
        await self._tags.add(owners, by_key(sent.tag))
        return requests.no_content()

    async def _untag(self, request: Request) -> Response:
        ids = paths.document(request, "ResourceId", tuple[str, ...], _NAMES) or ()
        keys = paths.document(request, "TagKey", tuple[str, ...], "a JSON list of keys") or ()
        kind = request.query_params.get("ResourceType", "")
        owners = await self._owners(request, "fc:UntagResources", kind, ids)
        await self._tags.remove(owners, keys, all_of_them=requests.flag(request, "All"))
        return requests.no_content()

    async def _list(self, request: Request) -> Response:
        """One item per tag; with `Tag`, only those tags. The token is `{owner}/{key}` of the next item."""
        query = request.query_params
        ids = paths.document(request, "ResourceId", tuple[str, ...], _NAMES) or ()
        wanted = paths.document(request, "Tag", list[Tag], 'a JSON list of {"Key": …, "Value": …}') or []
        limit = listing.limit_of(Listing(limit=requests.number(request, "Limit", f"1 to {limits.LIST_LIMIT_MAX}")))
        kind = query.get("ResourceType", "") or FUNCTION
        _check_type(kind)
        if ids:
            owners = await self._owners(request, "fc:ListTagResources", kind, ids)
        else:
            requests.requester(request).require("fc:ListTagResources", self._arns.owner("$*"))
            owners = self._tags.owners()
        start = query.get("NextToken", "")
        items = (
            (f"{owner}/{key}", TagResource(resource_id=owner[1:], resource_type=FUNCTION, tag_key=key, tag_value=value))
            for owner in sorted(owners)
            for key, value in sorted(self._tags.of(owner).items())
            if stands_alone(owner) and f"{owner}/{key}" >= start and _is_asked(wanted, key, value)
        )
        found = list(islice(items, limit + 1))
        document = {
            "RequestId": request.scope[REQUEST_ID],
            "TagResources": [item for _token, item in found[:limit]],
            **({"NextToken": found[limit][0]} if len(found) > limit else {}),
        }
        return requests.answer(document)

    async def _change_group(self, request: Request) -> Response:
        sent = await requests.body(request, GroupInput)
        if not sent.new_resource_group_id:
            raise InvalidArgument.missing("NewResourceGroupId")
        _check_type(sent.resource_type)
        owner, function = self._named(sent.resource_id)
        requests.requester(request).require("fc:ChangeResourceGroup", self._arns.function(owner, function))
        former = await self._states.move_to_group(owner, function, sent.new_resource_group_id)
        return requests.answer(
            shapes_settings.GroupAnswer(
                resource_id=spoken_function(owner, function),
                old_resource_group_id=former,
                new_resource_group_id=sent.new_resource_group_id,
            )
        )

    async def _regions(self, _request: Request) -> Response:
        region = shapes_settings.Region(self._arns.region, self._arns.region)
        return requests.answer(shapes_settings.RegionsAnswer(shapes_settings.Regions((region,))))

    async def _owners(self, request: Request, action: str, kind: str, ids: tuple[str, ...]) -> list[str]:
        """The owners of the named functions.

        Each function must exist, and the caller must have the permission for it.
        """
        _check_type(kind)
        if not ids:
            raise InvalidArgument.missing("ResourceId")
        if len(ids) > _ALL_NAMED_AT_ONCE:
            raise InvalidArgument.of("ResourceId", f"at most {_ALL_NAMED_AT_ONCE} functions", len(ids))
        owners = []
        for each in ids:
            owner, function = self._named(each)
            if not stands_alone(owner):
                expected = (
                    f"a function without a service: those of service '{owner}' are tagged with it, by TagResource"
                )
                raise InvalidArgument.of("ResourceId", expected, each[:64])
            by = requests.requester(request)
            by.require(action, self._arns.function(owner, function), self._tags.of(owner))
            await self._functions.get(owner, function)
            owners.append(owner)
        return owners

    def _named(self, resource_id: str) -> tuple[str, str]:
        """Parses a function's name or ARN."""
        found = parse_function_arn(resource_id) if ":" in resource_id else None
        if found is None:
            return function_named(resource_id)
        if not self._arns.are_of(found.region, found.account_id):
            raise InvalidArgument.of(
                "ResourceId", self._arns.function(owner_of("{function}"), "{function}"), resource_id[:64]
            )
        return found.target.service, found.target.function


def _check_type(kind: str) -> None:
    if kind.lower() != FUNCTION:
        raise InvalidArgument.of("ResourceType", FUNCTION, kind[:64])


def _is_asked(wanted: list[Tag], key: str, value: str) -> bool:
    return not wanted or any(tag.key == key and tag.value in ("", value) for tag in wanted)
