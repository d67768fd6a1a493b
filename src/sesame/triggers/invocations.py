"""Makes the queue's row of a call that a trigger asks for, as the asynchronous configuration of the function says.

Used by every kind of trigger that fires.
"""

import uuid

from sesame.model import limits, records
from sesame.model.async_invocation import NO_META, InvocationMeta, NewInvocation
from sesame.model.clocks import Clocks
from sesame.model.configs import AsyncConfig, async_config_name
from sesame.model.invocation import Target
from sesame.model.trigger import Trigger
from sesame.store.catalog import Catalog


class TriggeredInvocations:
    """Reads the catalog's memory; calls belong on the event loop's thread."""

    def __init__(self, catalog: Catalog, clocks: Clocks) -> None:
        self._catalog = catalog
        self._clocks = clocks

    def make(self, target: Target, payload: bytes, source: str, meta: InvocationMeta = NO_META) -> NewInvocation:
        """Due now. `source` is as `NewInvocation` says (`oss:NAME`)."""
        name = async_config_name(target.function, target.qualifier)
        record = self._catalog.get(records.ASYNC_CONFIG, target.service, name)
        config: AsyncConfig = AsyncConfig(target.service, name, target.qualifier) if record is None else record.document
        now = self._clocks.wall()
        request_id = str(uuid.uuid4())
        return NewInvocation(
            target=target,
            invocation_id=request_id,
            request_id=request_id,
            payload=payload,
            stateful=config.stateful_invocation,
            source=source,
            not_before=now,
            expires_at=now + (config.max_async_event_age_in_seconds or limits.ASYNC_EVENT_AGE_S_DEFAULT),
            meta=meta,
        )


def target_of(service: str, function: str, trigger: Trigger) -> Target:
    """The function under the qualifier that the trigger names."""
    return Target(service=service, qualifier=trigger.qualifier or limits.LATEST, function=function)
