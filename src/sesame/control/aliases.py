"""Aliases of a service or a function: creates, reads, moves and deletes them (reference/api.md §3.4).

Called by the endpoints; returns records. The engine decides which version a call goes to.
"""

from math import fsum

import msgspec
from msgspec import UNSET

from sesame.control import checks, rules
from sesame.control.dependents import forget_qualifier
from sesame.control.inputs import AliasInput, Listing, Page
from sesame.control.listing import page_of
from sesame.control.rules import Rule
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
            _check(tx, owner, merged, former.document)
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


def _check(tx: Transaction, owner: str, alias: Alias, former: Alias | None = None) -> None:
    """Only versions that the alias did not name before must exist: those that it names may have been deleted."""
    existing(tx, owner)
    rules.apply(_RULES, alias, former)
    before = () if former is None else _versions(former)
    for version in _versions(alias):
        if version not in before and tx.get(records.VERSION, owner, version) is None:
            raise NotFound(records.VERSION, version, (owner,))


def _versions(alias: Alias) -> tuple[str, ...]:
    """Its own version may have a weight, too (reference/api.md §3.4, §8.6)."""
    return alias.version_id, *(alias.additional_version_weight or {})


def _check_weights(weights: dict[str, float] | None) -> None:
    shares = (weights or {}).values()
    for share in shares:
        checks.between("additional_version_weight", share, 0, 1)
    # Without rounding between the additions: 0.8, 0.05, 0.05 and 0.1 are 1 in all.
    if fsum(shares) > 1:
        raise Invalid("additional_version_weight", "weights of at most 1 in all", fsum(shares))


_RULES = (Rule(("description",), checks.description), Rule(("additional_version_weight",), _check_weights))
