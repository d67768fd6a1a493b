"""Aliases of a service or a function: creates, reads, moves and deletes them (reference/api.md §3.4).

Called by the endpoints; returns records. The engine decides which version a call goes to.
"""

import msgspec
from msgspec import UNSET

from sesame.control import checks
from sesame.control.dependents import forget_qualifier
from sesame.control.inputs import AliasInput, Listing, Page
from sesame.control.listing import page_of
from sesame.control.views import existing
from sesame.model import limits, records
from sesame.model.alias import Alias
from sesame.model.errors import AlreadyExists, Invalid, Missing, NotFound
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction

ALIAS_NAME_CHARS = 128
# Calls of an alias with weights are distributed at random.
RESOLVED_BY_CHANCE = "Random"


class Aliases:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def create(self, owner: str, sent: AliasInput) -> Record:
        """Raises `Rejected`, `NotFound` or `AlreadyExists`."""
        name = "" if sent.alias_name is UNSET else sent.alias_name
        checks.name("alias_name", name, limits.ALIAS_NAME, ALIAS_NAME_CHARS)
        if name == limits.LATEST:
            raise Invalid("alias_name", f"any name but {limits.LATEST}", name)
        if sent.version_id is UNSET or not sent.version_id:
            raise Missing("version_id")
        _check_policies(sent)
        alias = _merged(Alias(alias_name=name, version_id=sent.version_id), sent)

        def edit(tx: Transaction) -> Record:
            _check(tx, owner, alias)
            if tx.get(records.ALIAS, owner, name) is not None:
                raise AlreadyExists(records.ALIAS, name, (owner,))
            return tx.put(records.ALIAS, owner, name, alias)

        return await self._catalog.edit(edit)

    async def get(self, owner: str, alias: str) -> Record:
        existing(self._catalog, owner)
        record = self._catalog.get(records.ALIAS, owner, alias)
        if record is None:
            raise NotFound(records.ALIAS, alias, (owner,))
        return record

    async def update(self, owner: str, alias: str, sent: AliasInput, if_match: str | None = None) -> Record:
        """Fields that were not sent stay; an empty map of weights ends a canary."""
        _check_policies(sent)

        def edit(tx: Transaction) -> Record:
            former = _existing(tx, owner, alias)
            checks.precondition(former, if_match)
            merged = _merged(former.document, sent)
            _check(tx, owner, merged, moved=merged.version_id != former.document.version_id)
            return tx.put(records.ALIAS, owner, alias, merged)

        return await self._catalog.edit(edit)

    async def delete(self, owner: str, alias: str, if_match: str | None = None) -> None:
        def edit(tx: Transaction) -> None:
            checks.precondition(_existing(tx, owner, alias), if_match)
            tx.delete(records.ALIAS, owner, alias)
            forget_qualifier(tx, owner, alias)

        await self._catalog.edit(edit)

    async def list(self, owner: str, wanted: Listing) -> Page:
        existing(self._catalog, owner)
        return page_of(self._catalog, records.ALIAS, owner, wanted)


def _check_policies(sent: AliasInput) -> None:
    """Raises `Invalid` for routing rules that Sesame does not support."""
    if sent.resolve_policy:
        checks.one_of("resolve_policy", sent.resolve_policy, (RESOLVED_BY_CHANCE,))
    if sent.route_policy:
        raise Invalid("route_policy", "nothing: additionalVersionWeight says which calls go where", "an object")


def _existing(tx: Transaction, owner: str, alias: str) -> Record:
    existing(tx, owner)
    record = tx.get(records.ALIAS, owner, alias)
    if record is None:
        raise NotFound(records.ALIAS, alias, (owner,))
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


def _check(tx: Transaction, owner: str, alias: Alias, *, moved: bool = True) -> None:
    """The current version may have been deleted; only the version that the alias is moved to must exist."""
    existing(tx, owner)
    checks.description(alias.description)
    if moved and tx.get(records.VERSION, owner, alias.version_id) is None:
        raise NotFound(records.VERSION, alias.version_id, (owner,))
    weights = alias.additional_version_weight or {}
    for version, weight in weights.items():
        # The alias's own version is accepted, too (reference/api.md §3.4, §8.6).
        checks.between("additional_version_weight", weight, 0, 1)
        if version != alias.version_id and tx.get(records.VERSION, owner, version) is None:
            raise NotFound(records.VERSION, version, (owner,))
    if sum(weights.values()) > 1:
        raise Invalid("additional_version_weight", "weights of at most 1 in all", sum(weights.values()))
