"""Creates the queue's row for a call that a trigger requests, according to the function's asynchronous configuration.

Used by every kind of trigger that fires.
"""

import uuid
from collections.abc import Sequence
from typing import Protocol

import msgspec
import sqlalchemy as sa

from sesame.control.async_policies import AsyncPolicies
from sesame.model import limits
from sesame.model.acceptance import Wanted, new_invocation
from sesame.model.async_invocation import NO_META, InvocationMeta, NewInvocation
from sesame.model.clocks import Clocks
from sesame.model.invocation import Target
from sesame.model.trigger import Trigger
from sesame.store.catalog import Catalog


class Queue(Protocol):
    """The part of `store.queue.queue.InvocationQueue` that triggers use."""

    def enqueue_in(self, connection: sa.Connection, news: Sequence[NewInvocation]) -> list[bool]: ...
    def notify(self, _result: object = None) -> None: ...


class TriggeredInvocations:
    """Reads the catalog's memory, so call it on the event loop's thread."""

    def __init__(self, catalog: Catalog, clocks: Clocks) -> None:
        self._policy_of = AsyncPolicies(catalog).policy_of
        self._clocks = clocks

    def make(
        self, target: Target, payload: bytes, source: str, meta: InvocationMeta = NO_META, retries: int | None = None
    ) -> NewInvocation:
        """A call that is due now.

        `source`: see `NewInvocation` (`oss:NAME`); `retries` overrides the function's setting.
        """
        policy = self._policy_of(target)
        wanted = Wanted(
            target=target,
            request_id=str(uuid.uuid4()),
            payload=payload,
            source=source,
            not_before=self._clocks.wall(),
            meta=meta,
        )
        return new_invocation(
            wanted, policy if retries is None else msgspec.structs.replace(policy, max_retries=retries)
        )


def target_of(service: str, function: str, trigger: Trigger) -> Target:
    """The function under the trigger's qualifier."""
    return Target(service=service, qualifier=trigger.qualifier or limits.LATEST, function=function)
