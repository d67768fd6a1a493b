"""Which code packages the records of a catalog name: in functions, in published versions and in layers.

Used by the collector of packages, by backups and by the check of a data directory.
"""

from collections.abc import Iterable

from sesame.model import records
from sesame.model.function import Function, Package
from sesame.model.layer import parse_layer_arn
from sesame.model.records import Record

HOLDERS = (records.FUNCTION, records.FROZEN_FUNCTION, records.LAYER_VERSION)


def named_packages(found: Iterable[Record]) -> dict[str, Package]:
    """By SHA-256. `found` contains every record of the kinds in HOLDERS, and perhaps others.

    A deleted layer counts as long as a function uses it.
    """
    functions: list[Function] = []
    layers: list[Record] = []
    for record in found:
        if record.kind == records.FUNCTION:
            functions.append(record.document)
        elif record.kind == records.FROZEN_FUNCTION:
            functions.append(record.document.function)
        elif record.kind == records.LAYER_VERSION:
            layers.append(record)
    used = {parse_layer_arn(arn) for function in functions for arn in function.layers}
    named = [function.package for function in functions]
    named += [
        layer.document.package for layer in layers if not layer.document.deleted or (layer.parent, layer.name) in used
    ]
    return {package.sha256: package for package in named if package.sha256}
