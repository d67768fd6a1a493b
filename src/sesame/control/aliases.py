"""Aliases: created, read, moved and deleted as the API says (reference/api.md §3.4).

Called by the doors with decoded input; answers with records.
Never decides which version a call goes to: the engine does, by what stands here.
"""

import msgspec
from msgspec import UNSET

from sesame.control import checks
from sesame.control.dependents import forget_qualifier
from sesame.control.inputs import AliasInput, Listing, Page
from sesame.control.listing import page_of
from sesame.control.views import service_view
from sesame.model import limits, records
from sesame.model.alias import Alias
from sesame.model.errors import AlreadyExists, Invalid, Missing, NotFound
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction

ALIAS_NAME_CHARS = 128


class Aliases:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def create(self, service: str, sent: AliasInput) -> Record:
        """Raises `Rejected`, `NotFound` or `AlreadyExists`."""
        name = "" if sent.alias_name is UNSET else sent.alias_name
        checks.name("alias_name", name, limits.ALIAS_NAME, ALIAS_NAME_CHARS)
        if name == limits.LATEST:
            raise Invalid("alias_name", f"any name but {limits.LATEST}", name)
        if sent.version_id is UNSET or not sent.version_id:
            raise Missing("version_id")
        alias = _merged(Alias(alias_name=name, version_id=sent.version_id), sent)

        def edit(tx: Transaction) -> Record:
            _check(tx, service, alias)
            if tx.get(records.ALIAS, service, name) is not None:
                raise AlreadyExists(records.ALIAS, name, (service,))
            return tx.put(records.ALIAS, service, name, alias)

        return await self._catalog.edit(edit)

    async def get(self, service: str, alias: str) -> Record:
        service_view(self._catalog, service)
        record = self._catalog.get(records.ALIAS, service, alias)
        if record is None:
            raise NotFound(records.ALIAS, alias, (service,))
        return record

    async def update(self, service: str, alias: str, sent: AliasInput, if_match: str | None = None) -> Record:
        """What was not sent stays; an empty map of weights ends a canary."""

        def edit(tx: Transaction) -> Record:
            former = _existing(tx, service, alias)
            checks.precondition(former, if_match)
            merged = _merged(former.document, sent)
            _check(tx, service, merged, moved=merged.version_id != former.document.version_id)
            return tx.put(records.ALIAS, service, alias, merged)

        return await self._catalog.edit(edit)

    async def delete(self, service: str, alias: str, if_match: str | None = None) -> None:
        def edit(tx: Transaction) -> None:
            checks.precondition(_existing(tx, service, alias), if_match)
            tx.delete(records.ALIAS, service, alias)
            forget_qualifier(tx, service, alias)

        await self._catalog.edit(edit)

    async def list(self, service: str, wanted: Listing) -> Page:
        service_view(self._catalog, service)
        return page_of(self._catalog, records.ALIAS, service, wanted)


def _existing(tx: Transaction, service: str, alias: str) -> Record:
    if tx.get(records.SERVICE, "", service) is None:
        raise NotFound(records.SERVICE, service)
    record = tx.get(records.ALIAS, service, alias)
    if record is None:
        raise NotFound(records.ALIAS, alias, (service,))
    return record


def _merged(alias: Alias, sent: AliasInput) -> Alias:
    changes = {field: value for field in sent.__struct_fields__ if (value := getattr(sent, field)) is not UNSET}
    changes.pop("alias_name", None)
    if changes.get("version_id") == "":
        del changes["version_id"]
    for field in ("additional_version_weight", "route_policy"):
        if field in changes and not changes[field]:
            changes[field] = None
    return msgspec.structs.replace(alias, **changes)


def _check(tx: Transaction, service: str, alias: Alias, *, moved: bool = True) -> None:
    """A version may be gone from under an alias; only what it is moved to must exist."""
    if tx.get(records.SERVICE, "", service) is None:
        raise NotFound(records.SERVICE, service)
    checks.description(alias.description)
    if moved and tx.get(records.VERSION, service, alias.version_id) is None:
        raise NotFound(records.VERSION, alias.version_id, (service,))
    weights = alias.additional_version_weight or {}
    for version, weight in weights.items():
        # Also the alias' own version is accepted (reference/api.md §3.4, §8.6).
        checks.between("additional_version_weight", weight, 0, 1)
        if version != alias.version_id and tx.get(records.VERSION, service, version) is None:
            raise NotFound(records.VERSION, version, (service,))
    if sum(weights.values()) > 1:
        raise Invalid("additional_version_weight", "weights of at most 1 in all", sum(weights.values()))
