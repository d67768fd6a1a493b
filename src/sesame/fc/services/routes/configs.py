"""The operations on settings of functions: asynchronous calls, provisioned and on-demand instances.

Mounted by the versions with services; each reads its request, calls `control` and shapes the answer
(reference/api.md §3.6).
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.control import Control
from sesame.control.on_demand_configs import resource_of
from sesame.engine.interface import Engine
from sesame.fc import requests
from sesame.fc.requests import Handler
from sesame.fc.services import shapes_account
from sesame.fc.services.inputs import AsyncConfigInput, OnDemandInput, ProvisionInput
from sesame.fc.targets import service_named
from sesame.identity.authorization import Requester
from sesame.model.arn import Arns, parse_function_arn
from sesame.model.configs import DestinationConfig, ProvisionConfig
from sesame.model.invocation import Target
from sesame.model.records import Record


class ConfigRoutes:
    def __init__(self, control: Control, arns: Arns, engine: Engine) -> None:
        self._engine = engine
        self._async = control.async_configs
        self._provision = control.provision_configs
        self._on_demand = control.on_demand_configs
        self._arns = arns
        self._account_id = arns.account_id

    def handlers(self) -> dict[str, Handler]:
        return {
            "PutFunctionAsyncInvokeConfig": self._put_async,
            "GetFunctionAsyncInvokeConfig": self._get_async,
            "DeleteFunctionAsyncInvokeConfig": self._delete_async,
            "ListFunctionAsyncInvokeConfigs": self._list_async,
            "PutProvisionConfig": self._put_provision,
            "GetProvisionConfig": self._get_provision,
            "ListProvisionConfigs": self._list_provision,
            "PutFunctionOnDemandConfig": self._put_on_demand,
            "GetFunctionOnDemandConfig": self._get_on_demand,
            "DeleteFunctionOnDemandConfig": self._delete_on_demand,
            "ListOnDemandConfigs": self._list_on_demand,
        }

    async def _put_async(self, request: Request) -> Response:
        service, function, qualifier = requests.qualified_function(request)
        sent = (await requests.body(request, AsyncConfigInput)).neutral()
        self._require_destinations(requests.requester(request), sent.destination_config)
        record = await self._async.put(service, function, qualifier, sent)
        return requests.answer(shapes_account.async_config(record), record)

    def _require_destinations(self, by: Requester, config: DestinationConfig) -> None:
        """Raises `Forbidden` for a destination function that the caller may not invoke.

        POLICY: checked here, because when the destination is invoked, a service without a role has no permissions to
        check.
        """
        for destination in (config.on_success, config.on_failure):
            found = parse_function_arn(destination.destination) if destination is not None else None
            if found is not None and found.account_id in ("", self._account_id):
                by.require("fc:InvokeFunction", self._arns.of_target(found.target))

    async def _get_async(self, request: Request) -> Response:
        record = await self._async.get(*requests.qualified_function(request))
        return requests.answer(shapes_account.async_config(record), record)

    async def _delete_async(self, request: Request) -> Response:
        await self._async.delete(*requests.qualified_function(request))
        return requests.no_content()

    async def _list_async(self, request: Request) -> Response:
        """Unlike other lists, answers "" as the last token, and null instead of an empty list."""
        service, function = requests.latest_service(request), requests.name(request, "function")
        page = await self._async.list(service, function, requests.listing(request))
        items = [shapes_account.async_config(record) for record in page.items]
        return requests.answer({"configs": items or None, "nextToken": page.next_token or ""})

    async def _put_provision(self, request: Request) -> Response:
        wanted = (await requests.body(request, ProvisionInput)).neutral()
        if wanted.target == 0:
            requests.requester(request).require_part("fc:DeleteProvisionConfig")
        record = await self._provision.put(requests.qualified_function(request), wanted, requests.if_match(request))
        return requests.answer(await self._provision_config(record), record)

    async def _get_provision(self, request: Request) -> Response:
        record = await self._provision.get(*requests.qualified_function(request))
        return requests.answer(await self._provision_config(record), record)

    async def _list_provision(self, request: Request) -> Response:
        query = request.query_params
        page = await self._provision.list(
            requests.listing(request), service_named(query.get("serviceName", "")), query.get("qualifier", "")
        )
        items = [await self._provision_config(record) for record in page.items]
        return requests.page_answer("provisionConfigs", items, page)

    async def _provision_config(self, record: Record) -> shapes_account.ProvisionAnswer:
        config: ProvisionConfig = record.document
        found = await self._engine.provisioned_of(Target(config.service, config.qualifier, config.function))
        return shapes_account.provision_config(config, found, self._account_id)

    async def _put_on_demand(self, request: Request) -> Response:
        wanted = (await requests.body(request, OnDemandInput)).neutral()
        record = await self._on_demand.put(
            resource_of(*requests.qualified_function(request)), wanted, requests.if_match(request)
        )
        return requests.answer(shapes_account.on_demand_config(record), record)

    async def _get_on_demand(self, request: Request) -> Response:
        record = await self._on_demand.get(resource_of(*requests.qualified_function(request)))
        return requests.answer(shapes_account.on_demand_config(record), record)

    async def _delete_on_demand(self, request: Request) -> Response:
        await self._on_demand.delete(resource_of(*requests.qualified_function(request)), requests.if_match(request))
        return requests.no_content()

    async def _list_on_demand(self, request: Request) -> Response:
        """Answers null instead of an empty list."""
        page = await self._on_demand.list(requests.listing(request))
        items = [shapes_account.on_demand_config(record) for record in page.items]
        return requests.page_answer("configs", items, page) if items else requests.answer({"configs": None})
