"""Fires a trigger by hand, with a sample event or a given one, and lists the triggers of all functions.

Called by the endpoints for `sesame triggers`. A fired event is queued, like a real one.
"""

from collections.abc import Callable

from sesame.control.async_invocations import Accepted, AsyncInvocations
from sesame.control.inputs import AsyncCall, Listing, Page
from sesame.control.listing import page_of_all
from sesame.control.requester import Requester
from sesame.control.triggers import Triggers
from sesame.model import limits, records, sample_events
from sesame.model import trigger_configs as configs
from sesame.model.arn import Arns
from sesame.model.errors import Invalid, Missing
from sesame.model.invocation import Target
from sesame.model.sample_events import Origin
from sesame.model.trigger import Trigger
from sesame.store.catalog import Catalog

# The source of invocations requested by a caller, instead of an event source.
FIRE = "fire"


class TriggerFiring:
    """`wall_clock` returns Unix seconds."""

    def __init__(
        self, catalog: Catalog, invocations: AsyncInvocations, arns: Arns, wall_clock: Callable[[], float]
    ) -> None:
        self._catalog = catalog
        self._triggers = Triggers(catalog, arns)
        self._invocations = invocations
        self._arns = arns
        self._wall_clock = wall_clock

    async def fire(
        self, place: tuple[str, str, str], event: bytes | None, request_id: str, *, by: Requester
    ) -> tuple[Target, Accepted]:
        """`place` is service, function and trigger; without an event, a sample is used. Disabled triggers fire, too.

        Raises `NotFound`; `Forbidden` for a caller that may not call the function; `Invalid` for an HTTP trigger;
        `Missing` if there is no sample event of this type.
        """
        service, function, name = place
        trigger: Trigger = (await self._triggers.get(service, function, name)).document
        target = Target(service, trigger.qualifier or limits.LATEST, function)
        by.require("fc:InvokeFunction", self._arns.of_target(target))
        if trigger.trigger_type == configs.HTTP:
            raise Invalid("trigger_type", "a type that events fire: send requests to its address", configs.HTTP)
        if event is None:
            event = sample_events.of_trigger(trigger, self._origin())
        if event is None:
            raise Missing("event")
        call = AsyncCall(target=target, request_id=request_id, payload=event, source=FIRE)
        return target, await self._invocations.accept(call)

    async def list(self, wanted: Listing) -> Page:
        """Triggers of all functions, in order of service, function and name."""
        return page_of_all(self._catalog, records.TRIGGER, wanted, lambda _record: True)

    def _origin(self) -> Origin:
        return Origin(region=self._arns.region, account_id=self._arns.account_id, at=self._wall_clock())
