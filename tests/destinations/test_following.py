"""What follows from the end of an invocation."""

import json

import msgspec
import pytest
from tests.destinations.test_records import ARNS, result
from tests.destinations.test_records import LEASE as PLAIN_LEASE
from tests.support.fakes import FakeClocks

from sesame.destinations.following import Destinations, FollowingNeeds
from sesame.destinations.routes import Routes
from sesame.model import limits
from sesame.model.async_invocation import InvocationMeta, Leased, NewDelivery, NewInvocation, State
from sesame.model.async_result import AsyncPolicy, Following
from sesame.model.invocation import Target
from sesame.model.recursion import LIMIT_EXCEEDED

OTHER = "acs:fc:cn-shanghai:123:services/s.prod/functions/g"
TOLD = InvocationMeta(on_success=OTHER, on_failure="http://h/failed")
LEASE = msgspec.structs.replace(PLAIN_LEASE, meta=TOLD)


def made(objection: str = "") -> Destinations:
    policy = AsyncPolicy(max_age_s=60, stateful=True)
    return Destinations(
        FollowingNeeds(
            arns=ARNS,
            routes=Routes(ARNS, {}),
            clocks=FakeClocks(),
            policy_of=lambda _target: policy,
            objection=lambda _caller, _target: objection,
        )
    )


async def test_a_function_is_invoked_with_the_record_by_its_own_configuration() -> None:
    lease = msgspec.structs.replace(LEASE, meta=msgspec.structs.replace(TOLD, chain=("a/b",)))
    found = await made().follow(result(lease=lease, state=State.SUCCEEDED, condition="Success", function_error=""))
    (new,) = found.then
    assert isinstance(new, NewInvocation)
    assert (new.target, new.source, new.stateful) == (Target("s", "prod", "g"), "destination", True)
    assert json.loads(new.payload)["requestContext"]["condition"] == "Success"
    assert new.expires_at - new.not_before == 60
    assert new.meta.chain == ("a/b", "s/f")
    assert new.request_id == new.invocation_id != "r"
    assert found.destination_status == "Delivered"


@pytest.mark.parametrize("state", [State.FAILED, State.EXPIRED])
async def test_failures_and_what_expired_go_to_the_destination_of_failures(state: State) -> None:
    found = await made().follow(result(lease=LEASE, state=state))
    (delivery,) = found.then
    assert isinstance(delivery, NewDelivery)
    assert (delivery.destination, delivery.condition) == ("http://h/failed", "Failure")
    assert found.destination_status == "Pending"


async def test_a_function_that_may_not_be_invoked_now_is_a_delivery() -> None:
    (delivery,) = (await made("the role does not allow it").follow(result(lease=LEASE, state=State.SUCCEEDED))).then
    assert isinstance(delivery, NewDelivery)
    assert delivery.destination == OTHER


async def test_a_record_too_large_for_an_event_is_a_delivery() -> None:
    large = result(lease=LEASE, state=State.SUCCEEDED, response=b"x" * limits.ASYNC_PAYLOAD_BYTES)
    (delivery,) = (await made().follow(large)).then
    assert isinstance(delivery, NewDelivery)
    assert "at most 131072" in made().refusal(LEASE.target, LEASE.target, delivery.record)


@pytest.mark.parametrize(
    ("state", "lease"), [(State.STOPPED, LEASE), (State.SUCCEEDED, PLAIN_LEASE), (State.FAILED, PLAIN_LEASE)]
)
async def test_nothing_follows_a_stop_or_where_no_destination_is_set(state: State, lease: Leased) -> None:
    assert await made().follow(result(lease=lease, state=state)) == Following()


async def test_what_the_recursion_limit_refused_is_no_event_of_a_function_that_led_to_it() -> None:
    """Else each refusal would be the event of the next one, without end."""
    meta = msgspec.structs.replace(TOLD, on_failure=OTHER, chain=("s/g", "s/f"))
    lease = msgspec.structs.replace(LEASE, meta=meta)
    ended = result(lease=lease, condition=LIMIT_EXCEEDED, function_error="", status_code=400)
    (delivery,) = (await made().follow(ended)).then
    assert isinstance(delivery, NewDelivery)
    chain = ("s/g", "s/f", "s/f")
    assert "the recursion limit refused" in made().leads_back(chain, Target("s", "prod", "g"), delivery.record)
    # A function that did not lead to it is told, and of other failures all are.
    assert made().leads_back(chain, Target("s", "prod", "alarm"), delivery.record) == ""
    (new,) = (await made().follow(result(lease=lease))).then
    assert isinstance(new, NewInvocation)
