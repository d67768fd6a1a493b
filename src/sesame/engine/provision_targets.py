"""How many provisioned instances each configuration wants at this moment, as the catalog has it.

Read by `engine.provisioned`; built by `_engine`.
"""

from collections.abc import Callable, Iterator

from sesame.engine.provisioned import Provision
from sesame.engine.resolver import Catalog, Change
from sesame.model import records
from sesame.model.configs import ProvisionConfig
from sesame.model.invocation import Target


class ProvisionTargets:
    """`provisioned.Provisions` from the configurations of a catalog. Belongs to the catalog's event loop."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._listeners: list[Callable[[], None]] = []
        catalog.on_change(self._on_change)

    def wanted(self) -> Iterator[Provision]:
        for record in self._catalog.of_kind(records.PROVISION_CONFIG):
            config: ProvisionConfig = record.document
            target = Target(config.service, config.qualifier, config.function)
            yield Provision(target, config.target, config.always_allocate_cpu)

    def on_change(self, callback: Callable[[], None]) -> None:
        self._listeners.append(callback)

    def _on_change(self, change: Change) -> None:
        if change.kind == records.PROVISION_CONFIG:
            for listener in self._listeners:
                listener()
