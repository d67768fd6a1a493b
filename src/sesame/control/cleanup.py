"""Says which packages are still referred to, so that the rest can go.

Called by whoever collects garbage in `store.packages`.
Never removes anything itself, and knows nothing of running instances.
"""

from sesame.model import records
from sesame.store.catalog import Catalog


def live_packages(catalog: Catalog) -> set[str]:
    """The sha256 of every package that the catalog names, in versions and layers too."""
    present = {record.document.package.sha256 for record in catalog.of_kind(records.FUNCTION)}
    frozen = {record.document.function.package.sha256 for record in catalog.of_kind(records.FROZEN_FUNCTION)}
    layers = {record.document.package.sha256 for record in catalog.of_kind(records.LAYER_VERSION)}
    return (present | frozen | layers) - {""}
