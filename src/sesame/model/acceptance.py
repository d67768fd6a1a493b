"""What is accepted as an asynchronous invocation, whatever asks for it: callers, triggers, destinations, replays.

Used by `control.async_invocations`, `triggers.invocations` and `destinations.following`. What is configured when an
invocation is accepted goes with it, so that it ends as was promised, whatever becomes of its function meanwhile.
"""

import msgspec

from sesame.model.async_invocation import NO_META, InvocationMeta, NewInvocation
from sesame.model.async_result import NO_CONFIG, AsyncPolicy
from sesame.model.invocation import Target


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is to be made. `invocation_id` is the caller's own, "" for the request id; `source` as there.

    `stateful` where the caller asks for that; the policy may ask for it, too. `not_before` in Unix seconds.
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
    """The row for the queue. Its age counts from when it may run, so that no delay makes it expire."""
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
