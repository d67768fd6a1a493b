"""The operations on function settings: asynchronous calls, concurrency, instances, and disabling.

Mounted by `fc.v2023.version`; each parses its request, calls `control` and builds the answer (reference/api.md §5).
"""

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.control import Control
from sesame.engine.interface import Engine
from sesame.fc import requests
from sesame.fc.refusals import InvalidArgument
from sesame.fc.requests import Handler
from sesame.fc.shapes import VpcIds
from sesame.fc.v2023 import paths, shapes_settings
from sesame.fc.v2023.inputs_settings import (
    AsyncConfigInput,
    ConcurrencyInput,
    DisableInput,
    ProvisionInput,
    ScalingInput,
    VpcBindingInput,
)
from sesame.fc.v2023.naming import function_named
from sesame.identity.authorization import Requester
from sesame.model import limits
from sesame.model.arn import Arns, parse_function_arn
from sesame.model.configs import DestinationConfig, ProvisionConfig, ScalingConfig
from sesame.model.invocation import Target
from sesame.model.records import Record


class ConfigRoutes:
    def __init__(self, control: Control, arns: Arns, engine: Engine) -> None:
        self._engine = engine
        self._async = control.async_configs
        self._states = control.function_states
        self._provision = control.provision_configs
        self._scaling = control.scaling_configs
        self._bindings = control.vpc_bindings
        self._functions = control.functions
        self._arns = arns

    def handlers(self) -> dict[str, Handler]:
        return {
            "PutAsyncInvokeConfig": self._put_async,
            "GetAsyncInvokeConfig": self._get_async,
            "DeleteAsyncInvokeConfig": self._delete_async,
            "ListAsyncInvokeConfigs": self._list_async,
            "PutConcurrencyConfig": self._put_concurrency,
            "GetConcurrencyConfig": self._get_concurrency,
            "DeleteConcurrencyConfig": self._delete_concurrency,
            "ListConcurrencyConfigs": self._list_concurrency,
            "PutProvisionConfig": self._put_provision,
            "GetProvisionConfig": self._get_provision,
            "DeleteProvisionConfig": self._delete_provision,
            "ListProvisionConfigs": self._list_provision,
            "PutScalingConfig": self._put_scaling,
            "GetScalingConfig": self._get_scaling,
            "DeleteScalingConfig": self._delete_scaling,
            "ListScalingConfigs": self._list_scaling,
            "DisableFunctionInvocation": self._disable,
            "EnableFunctionInvocation": self._enable,
            "CreateVpcBinding": self._bind,
            "DeleteVpcBinding": self._unbind,
            "ListVpcBindings": self._list_bindings,
        }

    async def _put_async(self, request: Request) -> Response:
        sent = (await requests.body(request, AsyncConfigInput)).neutral()
        self._require_destinations(requests.requester(request), sent.destination_config)
        record = await self._async.put(*paths.qualified_function(request), sent)
        return requests.answer(shapes_settings.async_config(record, self._arns), record)

    def _require_destinations(self, by: Requester, config: DestinationConfig) -> None:
        """Raises `Forbidden` for a destination function that the caller may not invoke."""
        for destination in (config.on_success, config.on_failure):
            found = parse_function_arn(destination.destination) if destination is not None else None
            if found is not None and found.account_id in ("", self._arns.account_id):
                by.require("fc:InvokeFunction", self._arns.of_target(found.target))

    async def _get_async(self, request: Request) -> Response:
        record = await self._async.get(*paths.qualified_function(request))
        return requests.answer(shapes_settings.async_config(record, self._arns), record)

    async def _delete_async(self, request: Request) -> Response:
        await self._async.delete(*paths.qualified_function(request))
        return requests.no_content()

    async def _list_async(self, request: Request) -> Response:
        by = requests.requester(request)
        page = await self._async.list_all(
            requests.listing(request),
            _function_asked(request),
            lambda owner, function: by.may("fc:ListAsyncInvokeConfigs", self._arns.function(owner, function)),
        )
        items = [shapes_settings.async_config(record, self._arns) for record in page.items]
        return requests.page_answer("configs", items, page)

    async def _put_concurrency(self, request: Request) -> Response:
        sent = await requests.body(request, ConcurrencyInput)
        if sent.reserved_concurrency is UNSET:
            raise InvalidArgument.missing("ReservedConcurrency")
        owner, function = paths.function(request)
        await self._states.reserve(owner, function, sent.reserved_concurrency)
        return self._concurrency(owner, function, sent.reserved_concurrency)

    async def _get_concurrency(self, request: Request) -> Response:
        owner, function = paths.function(request)
        return self._concurrency(owner, function, await self._states.reserved(owner, function))

    async def _delete_concurrency(self, request: Request) -> Response:
        await self._states.unreserve(*paths.function(request))
        return requests.no_content()

    async def _list_concurrency(self, request: Request) -> Response:
        page = await self._states.list_reserved(requests.listing(request), _function_asked(request))
        items = [shapes_settings.reserved(record, self._arns) for record in page.items]
        return requests.page_answer("configs", items, page)

    def _concurrency(self, owner: str, function: str, reserved: int) -> Response:
        arn = self._arns.spoken_function(owner, function)
        return requests.answer(shapes_settings.ConcurrencyAnswer(function_arn=arn, reserved_concurrency=reserved))

    async def _put_provision(self, request: Request) -> Response:
        sent = (await requests.body(request, ProvisionInput)).neutral()
        if sent.target == 0:
            requests.requester(request).require_part("fc:DeleteProvisionConfig")
        record = await self._provision.put(paths.qualified_function(request), sent)
        return requests.answer(await self._provisioned(record), record)

    async def _get_provision(self, request: Request) -> Response:
        record = await self._provision.get(*paths.qualified_function(request))
        return requests.answer(await self._provisioned(record), record)

    async def _delete_provision(self, request: Request) -> Response:
        await self._provision.delete(*paths.qualified_function(request))
        return requests.no_content()

    async def _list_provision(self, request: Request) -> Response:
        page = await self._provision.list_all(requests.listing(request), _function_asked(request))
        items = [await self._provisioned(record) for record in page.items]
        return requests.page_answer("provisionConfigs", items, page)

    async def _provisioned(self, record: Record) -> shapes_settings.ProvisionAnswer:
        config: ProvisionConfig = record.document
        found = await self._engine.provisioned_of(Target(config.service, config.qualifier, config.function))
        return shapes_settings.provision_config(config, found, self._arns)

    async def _put_scaling(self, request: Request) -> Response:
        sent = await requests.body(request, ScalingInput)
        owner, function, qualifier = paths.qualified_function(request)
        record = await self._scaling.put(sent.of(owner, function, qualifier or limits.LATEST))
        return requests.answer(await self._scaled(record), record)

    async def _get_scaling(self, request: Request) -> Response:
        record = await self._scaling.get(*paths.qualified_function(request))
        return requests.answer(await self._scaled(record), record)

    async def _delete_scaling(self, request: Request) -> Response:
        await self._scaling.delete(*paths.qualified_function(request))
        return requests.no_content()

    async def _list_scaling(self, request: Request) -> Response:
        page = await self._scaling.list(requests.listing(request), _function_asked(request))
        items = [await self._scaled(record) for record in page.items]
        return requests.page_answer("scalingConfigs", items, page)

    async def _scaled(self, record: Record) -> shapes_settings.ScalingAnswer:
        config: ScalingConfig = record.document
        found = await self._engine.provisioned_of(Target(config.service, config.qualifier, config.function))
        return shapes_settings.scaling_config(config, found, self._arns)

    async def _disable(self, request: Request) -> Response:
        sent = await requests.body(request, DisableInput)
        owner, function = paths.function(request)
        await self._states.disable(owner, function, sent.reason)
        if sent.abort_ongoing_request:
            await self._engine.abort(owner, function)
        return requests.answer(shapes_settings.Success(success=True))

    async def _enable(self, request: Request) -> Response:
        await self._states.enable(*paths.function(request))
        return requests.answer(shapes_settings.Success(success=True))

    async def _bind(self, request: Request) -> Response:
        owner, _function = await self._existing(request)
        await self._bindings.create(owner, (await requests.body(request, VpcBindingInput)).vpc_id)
        return requests.no_content()

    async def _unbind(self, request: Request) -> Response:
        owner, _function = await self._existing(request)
        await self._bindings.delete(owner, requests.name(request, "vpc"))
        return requests.no_content()

    async def _list_bindings(self, request: Request) -> Response:
        owner, _function = await self._existing(request)
        return requests.answer(VpcIds(await self._bindings.list(owner)))

    async def _existing(self, request: Request) -> tuple[str, str]:
        """The owner, which has the bindings, and the function, which must exist."""
        owner, function = paths.function(request)
        await self._functions.get(owner, function)
        return owner, function


def _function_asked(request: Request) -> tuple[str, str] | None:
    """The function that a list is restricted to; None for all."""
    name = request.query_params.get("functionName", "")
    return function_named(name) if name else None
