"""How a call becomes an asynchronous invocation, whether a caller, trigger, destination or replay asks for it.

Used by `control.async_invocations`, `triggers.invocations` and `destinations.following`. The function's asynchronous
configuration is copied into the invocation on acceptance, so that later changes to the function do not affect it.
"""

import msgspec

from sesame.model.async_invocation import NO_META, InvocationMeta, NewInvocation
from sesame.model.async_result import NO_CONFIG, AsyncPolicy
from sesame.model.invocation import Target


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A call to accept. `invocation_id` is the caller's stateful id; "" uses the request id.

    `source`: see `NewInvocation`.

    `stateful` is true if the caller asks for it; the policy may ask for it, too. `not_before` is in Unix seconds.
    """

    target: Target
    request_id: str
    payload: bytes
    source: str
    not_before: float
    invocation_id: str = ""
    stateful: bool = False
    meta: InvocationMeta = NO_META


def new_invocation(wanted: Wanted, policy: AsyncPolicy) -> NewInvocation:
    """The row for the queue. Its age counts from `not_before`, so that a delay never makes it expire."""
    return NewInvocation(
        target=wanted.target,
        invocation_id=wanted.invocation_id or wanted.request_id,
        request_id=wanted.request_id,
        payload=wanted.payload,
        stateful=wanted.stateful or policy.stateful,
        source=wanted.source,
        not_before=wanted.not_before,
        expires_at=wanted.not_before + policy.max_age_s,
        meta=_with(policy, wanted.meta),
    )


def _with(policy: AsyncPolicy, meta: InvocationMeta) -> InvocationMeta:
    if policy == NO_CONFIG:
        return meta
    return msgspec.structs.replace(
        meta,
        max_retries=policy.max_retries,
        max_age_s=policy.max_age_s,
        on_success=policy.on_success,
        on_failure=policy.on_failure,
    )
