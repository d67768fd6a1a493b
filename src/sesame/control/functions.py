"""Functions: creates, reads, changes and deletes them (reference/api.md §3.2).

Called by the endpoints; returns records. The engine sees the catalog change: the next call runs the new code.
"""

import uuid
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from sesame.control import checks
from sesame.control.code import CodeSource
from sesame.control.dependents import forget_function
from sesame.control.function_checks import check_function
from sesame.control.inputs import CodeInput, FunctionInput, Listing, Page
from sesame.control.layers import check_layers_exist
from sesame.control.requester import Requester, require_pass_role
from sesame.control.views import existing, function_view, functions_view
from sesame.model import limits, records
from sesame.model.container import kept_form, without_none
from sesame.model.errors import AlreadyExists, Missing, NotEmpty, Unusable
from sesame.model.function import Function, InstanceLifecycleConfig, LifecycleHook, Package
from sesame.model.records import Record
from sesame.model.trigger import trigger_parent
from sesame.store.catalog import Catalog, Transaction

FUNCTION_NAME_CHARS = 64
DEFAULT_INSTANCE_TYPE = "e1"
# A function whose code is an image has no package.
NO_PACKAGE = Package(sha256="", checksum="", size_bytes=0)
# An additional action in the transaction that changes a function.
Along = Callable[[Transaction], object]
_NOT_PLAIN = {"function_name", "code", "expected_checksum", "instance_lifecycle_config", "later"}
_OBJECTS = {"custom_container_config", "custom_runtime_config", "custom_health_check_config", "custom_dns"}


class Ids(Protocol):
    """The part of `store.queue.queue.InvocationQueue` that is used here."""

    async def release_ids(self, service: str, function: str, is_gone: Callable[[], bool]) -> None: ...


class Functions:
    def __init__(self, catalog: Catalog, code: CodeSource, ids: Ids) -> None:
        self._catalog = catalog
        self._code = code
        self._ids = ids

    async def create(self, service: str, sent: FunctionInput, *, by: Requester, along: Along | None = None) -> Record:
        """Raises `Rejected`, `NotFound` or `AlreadyExists`.

        `along` runs first in the transaction, and creates a missing owner.
        """
        require_pass_role(by, sent)
        name = _required("function_name", sent.function_name)
        checks.name("function_name", name, limits.FUNCTION_NAME, FUNCTION_NAME_CHARS)
        runtime, handler = _required("runtime", sent.runtime), _required("handler", sent.handler)
        if along is None:
            existing(self._catalog, service)
        if self._catalog.get(records.FUNCTION, service, name) is not None:
            raise AlreadyExists(records.FUNCTION, name, (service,))
        draft = Function(
            function_name=name, function_id=str(uuid.uuid4()), runtime=runtime, handler=handler, package=NO_PACKAGE
        )
        draft = _merged(draft, sent)
        check_function(draft)
        if sent.code is UNSET and runtime != limits.IMAGE_RUNTIME:
            raise Missing("code")
        package = await self._package(draft, sent, by)
        function = draft if package is None else msgspec.structs.replace(draft, package=package)

        def edit(tx: Transaction) -> Record:
            if along is not None:
                along(tx)
            existing(tx, service)
            if tx.get(records.FUNCTION, service, name) is not None:
                raise AlreadyExists(records.FUNCTION, name, (service,))
            check_layers_exist(tx, function.runtime, function.layers, by.principal.account_id)
            self._code.take(tx, sent.code, by=by)
            return tx.put(records.FUNCTION, service, name, function)

        # Those of a deleted function of this name: under one of them, the new function would not get an event. Released
        # now instead of with the deletion, because a crash between the two changes would leave them taken.
        await self._ids.release_ids(service, name, lambda: self._catalog.get(records.FUNCTION, service, name) is None)
        record = await self._catalog.edit(edit)
        await self._code.taken(sent.code)
        return record

    async def get(self, service: str, function: str, qualifier: str = "") -> Record:
        return function_view(self._catalog, service, function, qualifier)

    async def update(
        self,
        service: str,
        function: str,
        sent: FunctionInput,
        if_match: str | None = None,
        *,
        by: Requester,
        along: Along | None = None,
    ) -> Record:
        """Fields that were not sent stay; environment and layers are replaced as a whole. Unpacks code beforehand.

        `along` runs first in the transaction.
        """
        require_pass_role(by, sent)
        present = function_view(self._catalog, service, function)
        checks.precondition(present, if_match)
        draft = _merged(present.document, sent)
        check_function(draft, present.document)
        package = await self._package(draft, sent, by)
        if package is None and draft.runtime != present.document.runtime and draft.package != NO_PACKAGE:
            package = await self._code.for_runtime(draft.package, draft.runtime)

        def edit(tx: Transaction) -> Record:
            if along is not None:
                along(tx)
            former = function_view(tx, service, function)
            checks.precondition(former, if_match)
            merged = _merged(former.document, sent)
            check_function(merged, former.document)
            given = tuple(arn for arn in merged.layers if arn not in former.document.layers)
            check_layers_exist(tx, merged.runtime, given, by.principal.account_id)
            if package is not None:
                merged = msgspec.structs.replace(merged, package=package)
            self._code.take(tx, sent.code, by=by)
            return tx.put(records.FUNCTION, service, function, merged)

        record = await self._catalog.edit(edit)
        await self._code.taken(sent.code)
        return record

    async def delete(
        self, service: str, function: str, if_match: str | None = None, *, along: Along | None = None
    ) -> None:
        """Raises `NotEmpty` while it has triggers. `along` runs last in the transaction."""

        def edit(tx: Transaction) -> None:
            checks.precondition(function_view(tx, service, function), if_match)
            if tx.count(records.TRIGGER, trigger_parent(service, function)):
                raise NotEmpty(records.FUNCTION, function, "triggers")
            forget_function(tx, service, function)
            tx.delete(records.FUNCTION, service, function)
            if along is not None:
                along(tx)

        await self._catalog.edit(edit)

    async def list(self, service: str, wanted: Listing, qualifier: str = "") -> Page:
        return functions_view(self._catalog, service, wanted, qualifier)

    async def package(self, service: str, function: str, qualifier: str = "") -> Package:
        """The package for GetFunctionCode. Raises `Rejected` for a function whose code is an image."""
        package: Package = function_view(self._catalog, service, function, qualifier).document.package
        if package == NO_PACKAGE:
            raise Unusable(f"function '{function}' has no code package: its code is a container image")
        return package

    async def _package(self, draft: Function, sent: FunctionInput, by: Requester) -> Package | None:
        """The package that was sent, or None if none was."""
        announced = "" if sent.expected_checksum is UNSET else sent.expected_checksum
        # Terraform's provider sends an empty object where it has no code to send.
        none_needed = draft.runtime == limits.IMAGE_RUNTIME or draft.package != NO_PACKAGE
        if sent.code is UNSET or (sent.code == CodeInput() and none_needed):
            _check_kept(announced, draft.package)
            return None
        package = await self._code.package(sent.code, draft.runtime, announced, by=by)
        if draft.runtime in limits.SANDBOXED_RUNTIMES and not draft.layers:
            await self._code.check_layout(package, draft.handler)
        return package


def _check_kept(announced: str, package: Package) -> None:
    """A checksum without code is that of the code that stays."""
    if announced not in ("", package.checksum):
        kept = f"that of the function has '{package.checksum}'" if package.checksum else "the function has none"
        raise Unusable(
            f"the checksum '{checks.shown(announced)}' was announced, but no code package was sent, and {kept}: send "
            "the package, or no checksum"
        )


def _required(label: str, value: str | msgspec.UnsetType) -> str:
    if value is UNSET or not value:
        raise Missing(label)
    return value


def _merged(function: Function, sent: FunctionInput) -> Function:
    changes = {
        field: value
        for field in sent.__struct_fields__
        if field not in _NOT_PLAIN and (value := getattr(sent, field)) is not UNSET
    }
    if "custom_container_config" in changes:
        changes["custom_container_config"] = _container(
            function.custom_container_config, changes["custom_container_config"]
        )
    # An empty object or text removes the setting (reference/api.md §3.1, §5).
    changes.update({field: None for field in _OBJECTS & changes.keys() if not changes[field]})
    if changes.get("instance_type") == "":
        changes["instance_type"] = DEFAULT_INSTANCE_TYPE
    if changes.get("ca_port") == 0:
        # What clients in Go send for a port that is not set.
        changes["ca_port"] = None
    if sent.instance_lifecycle_config is not UNSET:
        changes["instance_lifecycle_config"] = _hooks(sent.instance_lifecycle_config)
    if sent.later is not UNSET:
        changes["later"] = msgspec.structs.replace(function.later, **sent.later)
    return msgspec.structs.replace(function, **changes)


def _container(present: dict[str, Any] | None, sent: dict[str, Any]) -> dict[str, Any]:
    """The sent settings, with None for those to remove; settings that the sending version lacks stay."""
    return without_none({**kept_form(present or {}), **sent}) if sent else {}


def _hooks(sent: InstanceLifecycleConfig) -> InstanceLifecycleConfig | None:
    config = InstanceLifecycleConfig(pre_freeze=_hook(sent.pre_freeze), pre_stop=_hook(sent.pre_stop))
    return None if config == InstanceLifecycleConfig() else config


def _hook(sent: LifecycleHook | None) -> LifecycleHook | None:
    return None if sent is None or not sent.handler else sent
