"""Settings of a function under every qualifier: reserved concurrency, disabled invocation, its resource group.

Called by the endpoint of 2023-03-30. The engine's resolver reads the records: a change applies from the next call on.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from sesame.control import checks
from sesame.control.inputs import Listing, Page
from sesame.control.listing import page_of_all
from sesame.control.views import Reads, function_view
from sesame.model import limits, records
from sesame.model.errors import CONCURRENCY_CONFIG, NotFound
from sesame.model.function_state import FunctionState
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction


class FunctionStates:
    """`wall_clock` returns Unix seconds."""

    def __init__(self, catalog: Catalog, wall_clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self._wall_clock = wall_clock

    def of(self, owner: str, function: str) -> FunctionState:
        """Empty if nothing was set."""
        return _state(self._catalog, owner, function)

    async def reserve(self, owner: str, function: str, concurrency: int) -> FunctionState:
        """Limits the function to this many instances; 0 means that no call is served."""
        checks.between("reserved_concurrency", concurrency, 0, limits.ON_DEMAND_INSTANCES_MAX)
        return await self._change(owner, function, reserved_concurrency=concurrency)

    async def reserved(self, owner: str, function: str) -> int:
        """Raises `NotFound` if nothing is reserved."""
        function_view(self._catalog, owner, function)
        found = self.of(owner, function).reserved_concurrency
        if found is None:
            raise NotFound(CONCURRENCY_CONFIG, function, (owner, function))
        return found

    async def unreserve(self, owner: str, function: str) -> None:
        await self.reserved(owner, function)
        await self._change(owner, function, reserved_concurrency=None)

    async def list_reserved(self, wanted: Listing, of: tuple[str, str] | None) -> Page:
        """Records of kind `function_state` with a reservation: of one function (owner, name), or of all."""

        def is_wanted(record: Record) -> bool:
            reserves = record.document.reserved_concurrency is not None
            return reserves and (of is None or (record.parent, record.name) == of)

        return page_of_all(self._catalog, records.FUNCTION_STATE, wanted, is_wanted)

    async def disable(self, owner: str, function: str, reason: str) -> None:
        checks.length("reason", reason, limits.DESCRIPTION_CHARS)
        await self._change(owner, function, disabled=True, reason=reason, disabled_at=self._wall_clock())

    async def enable(self, owner: str, function: str) -> None:
        await self._change(owner, function, disabled=False, reason="", disabled_at=self._wall_clock())

    async def move_to_group(self, owner: str, function: str, group: str) -> str:
        """Returns the former resource group."""
        checks.length("new_resource_group_id", group, limits.FOREIGN_NAME_CHARS)
        former = self.of(owner, function).resource_group_id
        await self._change(owner, function, resource_group_id=group)
        return former

    async def _change(self, owner: str, function: str, **changes: Any) -> FunctionState:
        def edit(tx: Transaction) -> FunctionState:
            function_view(tx, owner, function)
            former = _state(tx, owner, function)
            state = msgspec.structs.replace(former, **changes)
            if state != former:
                tx.put(records.FUNCTION_STATE, owner, function, state)
            return state

        return await self._catalog.edit(edit)


def _state(reads: Reads, owner: str, function: str) -> FunctionState:
    record = reads.get(records.FUNCTION_STATE, owner, function)
    return FunctionState() if record is None else record.document
