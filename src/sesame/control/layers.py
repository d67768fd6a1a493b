"""Layers: publishes, reads, shares and deletes them (reference/api.md §3.6).

Called by the endpoints; returns records of versions. The engine puts layers into instances.
"""

import msgspec

from sesame.control import checks
from sesame.control.code import CodeSource
from sesame.control.inputs import LayerInput, Listing, Page
from sesame.control.listing import filtered_page_of, limit_of
from sesame.control.requester import Requester
from sesame.model import limits, records
from sesame.model.errors import Invalid, NotFound, Unusable
from sesame.model.function import Package
from sesame.model.layer import LAYER_FORMS, Layer, LayerVersion, layer_owner, parse_layer_arn
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction

LAYER_NAME_CHARS = 64
RUNTIMES_MAX = 20
# A layer for no supported runtime is unpacked but not compiled.
_NOT_COMPILED = "custom"


class Layers:
    def __init__(self, catalog: Catalog, code: CodeSource) -> None:
        self._catalog = catalog
        self._code = code

    async def create_version(self, layer: str, sent: LayerInput, *, by: Requester) -> Record:
        """Numbers start at 1 and are never reused. Raises `Rejected`."""
        checks.name("layer_name", layer, limits.FUNCTION_NAME, LAYER_NAME_CHARS)
        checks.description(sent.description)
        checks.length("license", sent.license, limits.DESCRIPTION_CHARS)
        if len(sent.compatible_runtime) > RUNTIMES_MAX:
            raise Invalid("compatible_runtime", f"at most {RUNTIMES_MAX}", len(sent.compatible_runtime))
        for runtime in sent.compatible_runtime:
            checks.one_of("compatible_runtime", runtime, limits.RUNTIMES)
        package = await self._package(sent, by)

        def edit(tx: Transaction) -> Record:
            former = tx.get(records.LAYER, "", layer)
            present = Layer(layer_name=layer, last_version=0) if former is None else former.document
            number = present.last_version + 1
            # Versions that stand for those of another account's layer keep their numbers.
            while tx.get(records.LAYER_VERSION, layer, str(number)) is not None:
                number += 1
            tx.put(records.LAYER, "", layer, msgspec.structs.replace(present, last_version=number))
            version = LayerVersion(
                layer_name=layer,
                version=number,
                package=package,
                description=sent.description,
                compatible_runtime=sent.compatible_runtime,
                license=sent.license,
            )
            self._code.take(tx, sent.code, by=by)
            return tx.put(records.LAYER_VERSION, layer, str(number), version)

        record = await self._catalog.edit(edit)
        await self._code.taken(sent.code)
        return record

    async def get_version(self, layer: str, version: str) -> Record:
        record = self._catalog.get(records.LAYER_VERSION, layer, version)
        if record is None or record.document.deleted:
            raise NotFound(records.LAYER_VERSION, checks.shown(version), (layer,))
        return record

    async def by_arn(self, arn: str) -> Record:
        found = parse_layer_arn(arn)
        if found is None:
            raise Invalid("arn", LAYER_FORMS, checks.shown(arn))
        return await self.get_version(*found)

    async def versions(self, layer: str, start_version: int | None = None, limit: int | None = None) -> Page:
        """By number, ascending; the token is the next number."""
        found = self._shown(layer)
        if not found:
            raise NotFound(records.LAYER, layer)
        rest = [record for record in found if record.document.version >= (start_version or 0)]
        size = limit_of(Listing(limit=limit))
        return Page(tuple(rest[:size]), rest[size].name if len(rest) > size else None)

    async def delete_version(self, layer: str, version: str) -> None:
        """Hides the version and prevents new uses; functions that have it keep it."""
        await self.get_version(layer, version)

        def edit(tx: Transaction) -> None:
            record = tx.get(records.LAYER_VERSION, layer, version)
            if record is None or record.document.deleted:
                raise NotFound(records.LAYER_VERSION, version, (layer,))
            if record.document.provided:
                raise Unusable(
                    f"version {version} of the layer {layer} is provided by [layers] of sesame.toml: take its line out "
                    "there and start again"
                )
            if (layer, version) in used_layers(tx):
                deleted = msgspec.structs.replace(record.document, deleted=True)
                tx.put(records.LAYER_VERSION, layer, version, deleted)
            else:
                tx.delete(records.LAYER_VERSION, layer, version)

        await self._catalog.edit(edit)

    async def list(self, wanted: Listing, *, public: bool = False, official: bool = False) -> Page:
        """The newest version of each layer that has one; with `public`, only of shared layers.

        Official layers are published by the cloud: Sesame has none.
        """
        if official:
            limit_of(wanted)
            return Page((), None)
        page = filtered_page_of(
            self._catalog,
            records.LAYER,
            wanted,
            lambda record: (record.document.public or not public) and bool(self._shown(record.name)),
        )
        return Page(tuple(self._shown(record.name)[-1] for record in page.items), page.next_token)

    async def share(self, layer: str, *, public: bool) -> None:
        """Whether other accounts may see it; applies to all of its versions."""
        if not self._shown(layer):
            raise NotFound(records.LAYER, layer)

        def edit(tx: Transaction) -> None:
            record = tx.get(records.LAYER, "", layer)
            if record is None:
                raise NotFound(records.LAYER, layer)
            tx.put(records.LAYER, "", layer, msgspec.structs.replace(record.document, public=public))

        await self._catalog.edit(edit)

    def size_of(self, layer: str, version: str) -> int:
        """The size of its package in bytes, even if it is hidden; 0 if it does not exist."""
        record = self._catalog.get(records.LAYER_VERSION, layer, version)
        return 0 if record is None else int(record.document.package.size_bytes)

    def is_public(self, layer: str) -> bool:
        record = self._catalog.get(records.LAYER, "", layer)
        return record is not None and bool(record.document.public)

    def _shown(self, layer: str) -> tuple[Record, ...]:
        """The versions visible to callers, by number."""
        versions = self._catalog.children(records.LAYER_VERSION, layer)
        shown = (record for record in versions if not (record.document.deleted or record.document.provided))
        return tuple(sorted(shown, key=lambda record: record.document.version))

    async def _package(self, sent: LayerInput, by: Requester) -> Package:
        first, *others = [name for name in sent.compatible_runtime if name in limits.SANDBOXED_RUNTIMES] or [
            _NOT_COMPILED
        ]
        package = await self._code.package(sent.code, first, sent.expected_checksum, by=by)
        for runtime in others:
            package = await self._code.for_runtime(package, runtime)
        return package


def check_layers_exist(tx: Transaction, runtime: str, arns: tuple[str, ...], account_id: str) -> None:
    """New layers of a function must exist, for supported runtimes; those it already has may be deleted.

    Raises `NotFound`, or `Unusable` for a layer of the cloud or another account without a local replacement.
    """
    for arn in arns if runtime in limits.RUNNABLE_RUNTIMES else ():
        found = parse_layer_arn(arn)
        record = None if found is None else tx.get(records.LAYER_VERSION, *found)
        if record is None or record.document.deleted:
            layer, version = found or (arn, "")
            if layer_owner(arn) != account_id:
                raise Unusable(
                    f"layer '{arn}' is not this account's, and nothing here stands for it: `sesame layers get {arn}` "
                    f"makes it of what this machine or a package index has; or name a layer of yours, a folder or a "
                    f"zip for this ARN in [layers] of sesame.toml and start again"
                )
            raise NotFound(records.LAYER_VERSION, version, (layer,))


def used_layers(tx: Transaction) -> set[tuple[str, str] | None]:
    present = (arn for record in tx.of_kind(records.FUNCTION) for arn in record.document.layers)
    frozen = (arn for record in tx.of_kind(records.FROZEN_FUNCTION) for arn in record.document.function.layers)
    return {parse_layer_arn(arn) for arns in (present, frozen) for arn in arns}
