"""The operations on custom domains (reference/api.md §3.6).

Mounted by the versions with services; each reads its request, calls `control` and shapes the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.domains import Domains
from sesame.fc import requests
from sesame.fc.requests import Handler
from sesame.fc.services import shapes_account
from sesame.fc.services.inputs import CustomDomainInput
from sesame.model.records import Record


class DomainRoutes:
    def __init__(self, domains: Domains, account_id: str, api_version: str) -> None:
        self._domains = domains
        self._account_id = account_id
        self._api_version = api_version

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateCustomDomain": self._create,
            "ListCustomDomains": self._list,
            "GetCustomDomain": self._get,
            "UpdateCustomDomain": self._update,
            "DeleteCustomDomain": self._delete,
        }

    async def _create(self, request: Request) -> Response:
        wanted = (await requests.body(request, CustomDomainInput)).neutral()
        return self._answer(await self._domains.create(wanted, by=requests.requester(request)))

    async def _list(self, request: Request) -> Response:
        page = await self._domains.list(requests.listing(request))
        items = [shapes_account.domain(record, self._account_id, self._api_version) for record in page.items]
        return requests.page_answer("customDomains", items, page)

    async def _get(self, request: Request) -> Response:
        return self._answer(await self._domains.get(requests.name(request, "domain")))

    async def _update(self, request: Request) -> Response:
        domain = requests.name(request, "domain")
        wanted = (await requests.body(request, CustomDomainInput)).neutral()
        return self._answer(
            await self._domains.update(domain, wanted, requests.if_match(request), by=requests.requester(request))
        )

    async def _delete(self, request: Request) -> Response:
        await self._domains.delete(requests.name(request, "domain"), requests.if_match(request))
        return requests.no_content()

    def _answer(self, record: Record) -> Response:
        return requests.answer(shapes_account.domain(record, self._account_id, self._api_version), record)
