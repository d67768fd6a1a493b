"""How the instances of a function are scaled under a qualifier, as defined by the API of 2023-03-30.

Called by its endpoint. Treated and checked like configurations of provisioned instances.
"""

import msgspec

from sesame.control import checks
from sesame.control.inputs import Listing, Page
from sesame.control.listing import page_of_function
from sesame.control.provision_configs import Words, check_config
from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model.configs import ScalingConfig, provision_config_name
from sesame.model.errors import Invalid, NotFound
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction

SCALING_WORDS = Words(
    "min_instances", "scheduled_policies", "horizontal_scaling_policies", "min_instances", "max_instances"
)


class ScalingConfigs:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def put(self, config: ScalingConfig) -> Record:
        """Replaces the whole configuration."""
        try:
            provision = config.provision()
        except msgspec.ValidationError as error:
            raise Invalid("scaling_policies", "policies with the API's fields", str(error)) from error
        check_config(provision, SCALING_WORDS)
        for label in ("request_dispatch_policy", "resident_pool_id"):
            checks.length(label, getattr(config, label), limits.HANDLER_CHARS)
        if not config.enable_on_demand_scaling and not _is_version(config.qualifier):
            # Its calls use the same instances as those of the version that it points to.
            raise Invalid("enable_on_demand_scaling", "true under an alias; false under LATEST or a version", False)

        def edit(tx: Transaction) -> Record:
            function_view(tx, config.service, config.function, config.qualifier)
            name = provision_config_name(config.function, config.qualifier)
            return tx.put(records.SCALING_CONFIG, config.service, name, config)

        return await self._catalog.edit(edit)

    async def get(self, owner: str, function: str, qualifier: str) -> Record:
        """Raises `NotFound` if nothing was set under exactly this qualifier."""
        qualifier = qualifier or limits.LATEST
        function_view(self._catalog, owner, function, qualifier)
        found = self._catalog.get(records.SCALING_CONFIG, owner, provision_config_name(function, qualifier))
        if found is None:
            raise NotFound(records.SCALING_CONFIG, qualifier, (owner, function))
        return found

    async def delete(self, owner: str, function: str, qualifier: str) -> None:
        present = await self.get(owner, function, qualifier)
        await self._catalog.edit(lambda tx: tx.delete(records.SCALING_CONFIG, owner, present.name))

    async def list(self, wanted: Listing, of: tuple[str, str] | None) -> Page:
        """Of one function (owner, name), or of all."""
        return page_of_function(self._catalog, records.SCALING_CONFIG, wanted, of)


def _is_version(qualifier: str) -> bool:
    return qualifier in ("", limits.LATEST) or qualifier.isdecimal()
