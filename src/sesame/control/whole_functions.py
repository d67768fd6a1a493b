"""Functions together with their owners' settings (role, log target, network), as in the API of 2023-03-30.

Called by its endpoint. A function without a service is created, changed and deleted together with its owner, in one
transaction; a function of a service is named `service$function`.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import msgspec
from msgspec import UNSET

from sesame.control.functions import Functions
from sesame.control.inputs import FunctionInput, Listing, ServiceInput
from sesame.control.listing import document_bytes, fitting, limit_of, records_from
from sesame.control.requester import Requester, require_pass_role
from sesame.control.services import Services, delete_owner
from sesame.control.tags import add_tags, check_tags
from sesame.control.views import existing, function_view, service_view
from sesame.model import records
from sesame.model.errors import Invalid
from sesame.model.function import Function
from sesame.model.owner import AFTER_OWNERS, MARK, named_function, owner_of, spoken_function, stands_alone
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction

STANDING_ALONE, OF_SERVICES = "v3", "v2"


class WholeFunction(msgspec.Struct, frozen=True):
    """A function's record and its owner's, both current or both frozen by a version."""

    owner: Record
    function: Record

    @property
    def name(self) -> str:
        return spoken_function(self.function.parent, self.function.name)


class FunctionsPage(msgspec.Struct, frozen=True):
    """`next_token` is the name at which the next page starts; None on the last one."""

    items: tuple[WholeFunction, ...]
    next_token: str | None


class WholeFunctions:
    def __init__(self, catalog: Catalog, functions: Functions, services: Services) -> None:
        self._catalog = catalog
        self._functions = functions
        self._services = services

    async def create(
        self, sent: FunctionInput, of_owner: ServiceInput, tags: Mapping[str, str], *, by: Requester
    ) -> WholeFunction:
        """Creates a function without a service. Raises `Rejected`, `Forbidden` or `AlreadyExists`."""
        if tags:
            check_tags(tags)
        require_pass_role(by, of_owner)
        owner = owner_of("" if sent.function_name is UNSET else sent.function_name)
        made = self._services.made(owner, of_owner)

        def make_owner(tx: Transaction) -> None:
            if tx.get(records.SERVICE, "", owner) is None:
                tx.put(records.SERVICE, "", owner, made)
                if tags:
                    add_tags(tx, owner, tags)

        record = await self._functions.create(owner, sent, by=by, along=make_owner)
        return WholeFunction(existing(self._catalog, owner), record)

    async def get(self, owner: str, function: str, qualifier: str = "") -> WholeFunction:
        record = function_view(self._catalog, owner, function, qualifier)
        return WholeFunction(service_view(self._catalog, owner, qualifier), record)

    async def update(
        self, owner: str, function: str, sent: FunctionInput, of_owner: ServiceInput, *, by: Requester
    ) -> WholeFunction:
        """Fields that were not sent stay. For a function of a service, the service's own fields cannot be changed."""
        require_pass_role(by, of_owner)
        present = existing(self._catalog, owner).document
        changed = self._services.changed(present, of_owner)
        if changed != present and not stands_alone(owner):
            raise _belongs_to_service(owner, function, present, changed)
        sent = _with_pre_freeze(sent, function_view(self._catalog, owner, function).document)

        def change_owner(tx: Transaction) -> None:
            former = existing(tx, owner)
            now = self._services.changed(former.document, of_owner)
            if now != former.document:
                tx.put(records.SERVICE, "", owner, now)

        record = await self._functions.update(owner, function, sent, by=by, along=change_owner)
        return WholeFunction(existing(self._catalog, owner), record)

    async def delete(self, owner: str, function: str) -> None:
        """Raises `NotEmpty` while it has triggers or, without a service, versions or aliases."""
        if stands_alone(owner):
            await self._functions.delete(owner, function, along=lambda tx: delete_owner(tx, owner))
        else:
            await self._functions.delete(owner, function)

    async def list(
        self, wanted: Listing, generation: str = "", is_wanted: Callable[[WholeFunction], bool] | None = None
    ) -> FunctionsPage:
        """First functions without a service, then those of services, each in order of name.

        `generation` is STANDING_ALONE, OF_SERVICES or "" for both.
        """
        if generation not in ("", STANDING_ALONE, OF_SERVICES):
            raise Invalid("fc_version", f"{STANDING_ALONE} | {OF_SERVICES}", generation)
        limit = limit_of(wanted)
        found = list(islice(filter(is_wanted, self._from(wanted, generation)), limit + 1))
        number = fitting(document_bytes(whole.owner) + document_bytes(whole.function) for whole in found[:limit])
        return FunctionsPage(tuple(found[:number]), found[number].name if len(found) > number else None)

    def _from(self, wanted: Listing, generation: str) -> Iterator[WholeFunction]:
        later_ones = MARK in wanted.next_token
        if generation != OF_SERVICES and not later_ones:
            yield from self._alone(wanted)
        if generation != STANDING_ALONE:
            yield from self._of_services(wanted, wanted.next_token if later_ones else "")

    def _alone(self, wanted: Listing) -> Iterator[WholeFunction]:
        for owner in self._owners(owner_of(wanted.prefix), owner_of(wanted.next_token)):
            function = self._catalog.get(records.FUNCTION, owner.name, owner.name.removeprefix(MARK))
            if function is not None:
                yield WholeFunction(owner, function)

    def _of_services(self, wanted: Listing, start: str) -> Iterator[WholeFunction]:
        service_prefix = wanted.prefix.partition(MARK)[0]
        first = named_function(start) if start else ("", "")
        for owner in self._owners(service_prefix, max(first[0], AFTER_OWNERS)):
            for function in self._catalog.children(records.FUNCTION, owner.name):
                whole = WholeFunction(owner, function)
                if whole.name.startswith(wanted.prefix) and (owner.name, function.name) >= first:
                    yield whole

    def _owners(self, prefix: str, start: str) -> Iterator[Record]:
        return records_from(self._catalog, records.SERVICE, Listing(prefix=prefix, next_token=start))


def _with_pre_freeze(sent: FunctionInput, present: Function) -> FunctionInput:
    """Adds the current PreFreeze hook, which FC 3.0 does not have."""
    if sent.instance_lifecycle_config is UNSET or present.instance_lifecycle_config is None:
        return sent
    hooks = msgspec.structs.replace(
        sent.instance_lifecycle_config, pre_freeze=present.instance_lifecycle_config.pre_freeze
    )
    return msgspec.structs.replace(sent, instance_lifecycle_config=hooks)


def _belongs_to_service(owner: str, function: str, present: msgspec.Struct, changed: msgspec.Struct) -> Invalid:
    field = next(name for name in present.__struct_fields__ if getattr(present, name) != getattr(changed, name))
    name = spoken_function(owner, function)
    allowed = (
        f"what service '{owner}' has, because function '{name}' belongs to it: change the service by UpdateService"
    )
    return Invalid(field, allowed, "another value")
