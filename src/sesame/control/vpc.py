"""The VPCs that a service is bound to (reference/api.md §3.6).

Called by the endpoints; returns ids. Bindings are stored and listed, without effect: Sesame has no VPCs.
"""

from sesame.control import checks
from sesame.control.views import service_view
from sesame.model import limits, records
from sesame.model.binding import VpcBinding
from sesame.model.errors import Missing, NotFound
from sesame.store.catalog import Catalog, Transaction


class VpcBindings:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def create(self, service: str, vpc_id: str) -> None:
        """Idempotent."""
        if not vpc_id:
            raise Missing("vpc_id")
        checks.length("vpc_id", vpc_id, limits.FOREIGN_NAME_CHARS)

        def edit(tx: Transaction) -> None:
            if tx.get(records.SERVICE, "", service) is None:
                raise NotFound(records.SERVICE, service)
            if tx.get(records.VPC_BINDING, service, vpc_id) is None:
                tx.put(records.VPC_BINDING, service, vpc_id, VpcBinding(vpc_id))

        await self._catalog.edit(edit)

    async def delete(self, service: str, vpc_id: str) -> None:
        if not vpc_id:
            raise Missing("vpc_id")

        def edit(tx: Transaction) -> None:
            if tx.get(records.SERVICE, "", service) is None:
                raise NotFound(records.SERVICE, service)
            if tx.get(records.VPC_BINDING, service, vpc_id) is None:
                raise NotFound(records.VPC_BINDING, vpc_id, (service,))
            tx.delete(records.VPC_BINDING, service, vpc_id)

        await self._catalog.edit(edit)

    async def list(self, service: str) -> tuple[str, ...]:
        service_view(self._catalog, service)
        return tuple(record.name for record in self._catalog.children(records.VPC_BINDING, service))
