"""Determines what follows the end of an asynchronous invocation: a call of another function, or a record to deliver.

Called by the engine's invoker, which commits the result together with the final state. Never raises.
"""

import uuid
from collections.abc import Callable

import msgspec

from sesame.destinations.records import condition_of, record_of
from sesame.destinations.routes import FunctionRoute, Routes
from sesame.model import limits
from sesame.model.acceptance import Wanted, new_invocation
from sesame.model.arn import Arns
from sesame.model.async_invocation import InvocationMeta, NewDelivery, NewInvocation, State
from sesame.model.async_result import AsyncPolicy, AsyncResult, Following
from sesame.model.clocks import Clocks
from sesame.model.invocation import Target
from sesame.model.owner import label
from sesame.model.recursion import LIMIT_EXCEEDED, Chain, extended, stands_in

SOURCE = "destination"
SUCCESS, FAILURE = "Success", "Failure"
# Values of `destinationStatus`; the queue replaces PENDING once the record is delivered or a dead letter.
PENDING, DELIVERED = "Pending", "Delivered"

PolicyOf = Callable[[Target], AsyncPolicy]
# Why a function may not invoke another one as its destination; "" if it may.
Objection = Callable[[Target, Target], str]


class FollowingNeeds(msgspec.Struct, frozen=True, kw_only=True):
    arns: Arns
    routes: Routes
    clocks: Clocks
    policy_of: PolicyOf
    objection: Objection


class FunctionCall(msgspec.Struct, frozen=True):
    """A record as the event of a function. `invocation_id` ensures that it is accepted only once."""

    target: Target
    record: bytes
    invocation_id: str
    chain: Chain


class Destinations:
    def __init__(self, needs: FollowingNeeds) -> None:
        self._needs = needs

    async def follow(self, result: AsyncResult) -> Following:
        """Follows the configuration at the time when the invocation was accepted.

        If a function cannot be invoked, a delivery is created for it, which is retried and may end as a dead letter.

        POLICY: a stopped invocation has no destination: whoever stopped it knows.
        """
        if result.state is State.STOPPED:
            return Following()
        condition = SUCCESS if result.state is State.SUCCEEDED else FAILURE
        needs, lease = self._needs, result.lease
        destination = lease.meta.on_success if condition == SUCCESS else lease.meta.on_failure
        if not destination:
            return Following()
        record = await record_of(result, needs.arns)
        route = needs.routes.find(destination)
        chain = extended(lease.meta.chain, lease.target)
        if isinstance(route, FunctionRoute) and not (
            self.refusal(lease.target, route.target, record) or self.leads_back(chain, route.target, record)
        ):
            return Following(
                (self.invocation(FunctionCall(route.target, record, str(uuid.uuid4()), chain)),), DELIVERED
            )
        return Following((NewDelivery(destination=destination, record=record, condition=condition),), PENDING)

    @staticmethod
    def too_large(record: bytes) -> str:
        """Why the record can never be a function's event; "" if it can."""
        if len(record) <= limits.ASYNC_PAYLOAD_BYTES:
            return ""
        return (
            f"the record has {len(record)} bytes, and an asynchronous event at most {limits.ASYNC_PAYLOAD_BYTES}: "
            "return less, or name a URL as the destination"
        )

    @staticmethod
    def leads_back(chain: Chain, target: Target, record: bytes) -> str:
        """Why a record of a recursion refusal may not be an event of `target`; "" if it may.

        `chain` led to the refusal.

        Otherwise each refusal would become the event of another refused call, without end.
        """
        if not stands_in(chain, target) or condition_of(record) != LIMIT_EXCEEDED:
            return ""
        name = label(target.service, target.function)
        return f"function '{name}' led to this invocation, which the recursion limit refused: name another destination"

    def refusal(self, caller: Target, target: Target, record: bytes) -> str:
        """Why `caller`'s record cannot be the event of `target` now; "" if it can."""
        return self.too_large(record) or self._needs.objection(caller, target)

    def invocation(self, call: FunctionCall) -> NewInvocation:
        wanted = Wanted(
            target=call.target,
            request_id=call.invocation_id,
            payload=call.record,
            source=SOURCE,
            not_before=self._needs.clocks.wall(),
            meta=InvocationMeta(chain=call.chain),
        )
        return new_invocation(wanted, self._needs.policy_of(call.target))
