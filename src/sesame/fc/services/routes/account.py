"""The operations on the whole account, and on features that do not exist here (reference/api.md §3.2, §3.6).

Mounted by the versions with services; each parses its request and builds the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.account import AccountSettings, account_configs
from sesame.control.code_uploads import Loan
from sesame.control.control import Control
from sesame.control.inputs import Page
from sesame.control.listing import limit_of
from sesame.fc import requests
from sesame.fc.refusals import ApiError
from sesame.fc.requests import Handler
from sesame.fc.services import shapes_account
from sesame.fc.services.shapes_account import BucketTokenAnswer, TokenCredentials
from sesame.fc.shapes import time
from sesame.model import limits
from sesame.model.arn import Arns

_NOTHING = Page((), None)


class AccountRoutes:
    def __init__(self, control: Control, account: AccountSettings, arns: Arns) -> None:
        self._services = control.services
        self._account = account
        self._code_uploads = control.code_uploads
        self._arns = arns

    def handlers(self) -> dict[str, Handler]:
        return {
            "GetAccountSettings": self._settings,
            "GetAccountConfigs": self._configs,
            "ListReservedCapacities": self._reserved,
            "GetTempBucketToken": self._bucket_token,
            "GetTempCodeBucketToken": self._code_bucket_token,
        }

    async def _settings(self, request: Request) -> Response:
        return requests.answer(shapes_account.account_settings(self._account))

    async def _configs(self, request: Request) -> Response:
        return requests.answer(account_configs(requests.repeated(request, "config")))

    async def _reserved(self, request: Request) -> Response:
        limit_of(requests.listing(request))
        return requests.page_answer("reservedCapacities", [], _NOTHING)

    async def _bucket_token(self, request: Request) -> Response:
        loan = await self._lend(request)
        return requests.answer(
            BucketTokenAnswer(
                credentials=_shown(loan),
                oss_region=f"oss-{self._arns.region}",
                oss_bucket=loan.bucket_name,
                object_name=loan.object_name,
            )
        )

    async def _code_bucket_token(self, request: Request) -> Response:
        await self._services.get(requests.latest_service(request))
        loan = await self._lend(request)
        return requests.answer(
            BucketTokenAnswer(
                credentials=_shown(loan),
                oss_bucket=loan.bucket_name,
                object_name=loan.object_name,
                code_size_limit=limits.CODE_ZIP_BYTES,
            )
        )

    async def _lend(self, request: Request) -> Loan:
        if self._code_uploads is None:
            raise ApiError(404, "BucketNotFound", "this server has no object storage: send the code as zipFile")
        return await self._code_uploads.lend(requests.requester(request), self._arns.account_id)


def _shown(loan: Loan) -> TokenCredentials:
    lent = loan.credentials
    return TokenCredentials(lent.access_key_id, lent.access_key_secret, lent.security_token, time(loan.expires_at))
