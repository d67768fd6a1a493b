"""The maximum number of on-demand instances of a function (reference/api.md §3.6).

Called by the endpoints; returns records. The engine applies the limit.
"""

from msgspec import UNSET

from sesame.control import checks
from sesame.control.inputs import Listing, OnDemandInput, Page
from sesame.control.listing import page_of
from sesame.model import limits, records
from sesame.model.configs import OnDemandConfig, on_demand_resource
from sesame.model.errors import Missing, NotFound
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction


class OnDemandConfigs:
    """A limited function need not exist (reference/api.md §3.6)."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def put(self, resource: str, sent: OnDemandInput, if_match: str | None = None) -> Record:
        """`resource` is the result of `resource_of`."""
        if sent.maximum_instance_count is UNSET:
            raise Missing("maximum_instance_count")
        checks.between("maximum_instance_count", sent.maximum_instance_count, 0, limits.ON_DEMAND_INSTANCES_MAX)
        config = OnDemandConfig(resource=resource, maximum_instance_count=sent.maximum_instance_count)

        def edit(tx: Transaction) -> Record:
            checks.precondition(tx.get(records.ON_DEMAND_CONFIG, "", resource), if_match)
            return tx.put(records.ON_DEMAND_CONFIG, "", resource, config)

        return await self._catalog.edit(edit)

    async def get(self, resource: str) -> Record:
        record = self._catalog.get(records.ON_DEMAND_CONFIG, "", resource)
        if record is None:
            raise NotFound(records.ON_DEMAND_CONFIG, resource)
        return record

    async def delete(self, resource: str, if_match: str | None = None) -> None:
        def edit(tx: Transaction) -> None:
            record = tx.get(records.ON_DEMAND_CONFIG, "", resource)
            if record is None:
                raise NotFound(records.ON_DEMAND_CONFIG, resource)
            checks.precondition(record, if_match)
            tx.delete(records.ON_DEMAND_CONFIG, "", resource)

        await self._catalog.edit(edit)

    async def list(self, wanted: Listing) -> Page:
        """All of the account; prefix, start key and token are resources."""
        return page_of(self._catalog, records.ON_DEMAND_CONFIG, "", wanted)


def resource_of(service: str, function: str, qualifier: str = "") -> str:
    """`services/{service}.{qualifier}/functions/{function}`. Raises `Rejected` for invalid names."""
    checks.name("service_name", service, limits.SERVICE_NAME, 128)
    checks.name("function_name", function, limits.FUNCTION_NAME, 64)
    checks.qualifier("qualifier", qualifier)
    return on_demand_resource(service, qualifier or limits.LATEST, function)
