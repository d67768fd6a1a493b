"""Says which packages are still referred to, so that the rest can go.

Called by whoever collects garbage in `store.packages.packages`.
Never removes anything itself, and knows nothing of running instances.
"""

from sesame.model import records
from sesame.model.function import Function
from sesame.model.layer import parse_layer_arn
from sesame.store.catalog import Catalog


def live_packages(catalog: Catalog) -> set[str]:
    """The sha256 of every package that the catalog names: in functions, in versions and in layers.

    A deleted layer counts as long as a function has it.
    """
    present = [record.document for record in catalog.of_kind(records.FUNCTION)]
    frozen = [record.document.function for record in catalog.of_kind(records.FROZEN_FUNCTION)]
    functions: list[Function] = present + frozen
    used = {parse_layer_arn(arn) for function in functions for arn in function.layers}
    layers = [
        record.document
        for record in catalog.of_kind(records.LAYER_VERSION)
        if not record.document.deleted or (record.parent, record.name) in used
    ]
    return {holder.package.sha256 for holder in (*functions, *layers)} - {""}
