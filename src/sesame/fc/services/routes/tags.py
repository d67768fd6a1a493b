"""The operations on tags (reference/api.md §3.6).

Mounted by the versions with services; each reads its request, calls `control` and shapes the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.tags import ServiceTags
from sesame.fc import requests
from sesame.fc.requests import REQUEST_ID, Done, Handler
from sesame.fc.services.inputs import TagInput, UntagInput
from sesame.fc.services.shapes_account import RequestAnswer, TaggedResource, TagsAnswer
from sesame.model.arn import Arns


def _with_request_id(request: Request) -> Response:
    return requests.answer(RequestAnswer(request_id=request.scope[REQUEST_ID]))


class TagRoutes:
    def __init__(self, tags: ServiceTags, arns: Arns, done: Done = _with_request_id) -> None:
        """`done` builds the answer to a change, which has no result."""
        self._tags = tags
        self._done = done
        self._arns = arns

    def handlers(self) -> dict[str, Handler]:
        return {
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "GetResourceTags": self._get,
            "ListTaggedResources": self._list,
        }

    async def _tag(self, request: Request) -> Response:
        sent = (await requests.body(request, TagInput)).neutral()
        self._require(request, "fc:TagResource", sent.resource_arn)
        await self._tags.tag(sent)
        return self._done(request)

    async def _untag(self, request: Request) -> Response:
        sent = (await requests.body(request, UntagInput)).neutral()
        self._require(request, "fc:UntagResource", sent.resource_arn)
        await self._tags.untag(sent)
        return self._done(request)

    async def _get(self, request: Request) -> Response:
        resource_arn = request.query_params.get("resourceArn", "")
        self._require(request, "fc:GetResourceTags", resource_arn)
        service, tags = await self._tags.get(resource_arn)
        arn = self._arns.service(service)
        return requests.answer(TagsAnswer(request_id=request.scope[REQUEST_ID], resource_arn=arn, tags=tags))

    async def _list(self, request: Request) -> Response:
        page = await self._tags.list(requests.listing(request))
        items = [
            TaggedResource(resource_arn=self._arns.service(record.name), tags=record.document.tags)
            for record in page.items
        ]
        return requests.page_answer("resources", items, page)

    def _require(self, request: Request, action: str, resource_arn: str) -> None:
        """Raises `Denied` unless the caller may do this to the service; conditions see its current tags."""
        service = self._tags.service_of(resource_arn)
        requests.requester(request).require(action, self._arns.service(service), self._tags.of(service))
