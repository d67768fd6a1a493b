"""Layers of the cloud's public list, and of other accounts, that are replaced by something on this machine.

`sesame._provided_layers` reads the replacements from the settings at each start. A function can then name such a layer
by the cloud's own ARN. They are stored as versions of layers, without a layer of the account's own.
"""

from collections.abc import Sequence

import msgspec

from sesame.control.layers import used_layers
from sesame.model import limits, records
from sesame.model.function import Package
from sesame.model.layer import LayerVersion
from sesame.store.catalog import Catalog, Transaction


class ProvidedLayer(msgspec.Struct, frozen=True):
    """`name` and `version` are those of the cloud's ARN. The replacement is a package, or a layer of the account.

    For the account's layer `own` it is the version `own_version`, by default the newest at the start.
    """

    name: str
    version: int
    package: Package | None = None
    source_digest: str = ""
    own: str = ""
    own_version: int | None = None


class ProvidedLayers:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def provide(self, wanted: Sequence[ProvidedLayer]) -> list[str]:
        """Makes exactly these available; functions that have another one keep it.

        Returns a line for each that cannot be provided, with the next step.
        """
        return await self._catalog.edit(lambda tx: _provide(tx, wanted))


def _provide(tx: Transaction, wanted: Sequence[ProvidedLayer]) -> list[str]:
    warnings: list[str] = []
    provided: dict[tuple[str, str], LayerVersion] = {}
    for each in wanted:
        key = (each.name, str(each.version))
        present = tx.get(records.LAYER_VERSION, *key)
        if present is not None and not present.document.provided:
            warnings.append(
                f"layers: version {each.version} of the layer {each.name} is the account's own, and nothing else "
                "stands for it: delete that version, or take the line out of [layers]"
            )
            continue
        package = each.package or _own_package(tx, each)
        if package is None:
            warnings.append(
                f"layers: nothing stands for version {each.version} of the layer {each.name}, because there is no such "
                f"version of the layer {each.own}: publish it (`sesame layers publish {each.own} FOLDER`), start again"
            )
            continue
        provided[key] = LayerVersion(
            layer_name=each.name,
            version=each.version,
            package=package,
            description="Provided by [layers] of the settings",
            compatible_runtime=limits.SANDBOXED_RUNTIMES,
            provided=True,
            source_digest=each.source_digest,
        )
    used = used_layers(tx)
    for record in tx.of_kind(records.LAYER_VERSION):
        key, document = (record.parent, record.name), record.document
        if document.provided and key not in provided:
            if key not in used:
                tx.delete(records.LAYER_VERSION, *key)
            elif not document.deleted:
                tx.put(records.LAYER_VERSION, *key, msgspec.structs.replace(document, deleted=True))
    for key, version in provided.items():
        present = tx.get(records.LAYER_VERSION, *key)
        if present is None or present.document != version:
            tx.put(records.LAYER_VERSION, *key, version)
    return warnings


def _own_package(tx: Transaction, wanted: ProvidedLayer) -> Package | None:
    number = wanted.own_version
    if number is None:
        layer = tx.get(records.LAYER, "", wanted.own)
        number = layer.document.last_version if layer is not None else 0
    record = tx.get(records.LAYER_VERSION, wanted.own, str(number))
    if record is None or record.document.deleted or record.document.provided:
        return None
    package: Package = record.document.package
    return package
