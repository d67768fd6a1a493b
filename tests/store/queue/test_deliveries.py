"""Records on their way to destinations: sent until they are delivered, or kept as dead letters that can be sent again.

Run by pytest, on every database.
"""

import msgspec
import pytest
from tests.store.queue.conftest import Opener
from tests.support.fakes import FakeClocks
from tests.support.invocations import ended, new_invocation

from sesame.model.async_invocation import InvocationMeta, LeasedDelivery, NewDelivery, NewInvocation
from sesame.model.errors import Invalid
from sesame.store.queue.leases import LEASE_S
from sesame.store.queue.queue import InvocationQueue

URL = "https://example.com/"


async def ended_with_record(queue: InvocationQueue, clocks: FakeClocks, record: bytes = b"{}") -> NewInvocation:
    new = new_invocation(clocks)
    await queue.enqueue([new])
    (lease,) = await queue.claim(1)
    then = NewDelivery(destination=URL, record=record, condition="Success")
    assert await queue.finish(lease, ended(clocks, destination_status="Pending"), [then])
    return new


async def status_of(queue: InvocationQueue, new: NewInvocation) -> str:
    found = await queue.get(new.target, new.invocation_id)
    assert found is not None
    return found.destination_status


async def claimed(queue: InvocationQueue) -> LeasedDelivery:
    (delivery,) = await queue.deliveries.claim(5)
    return delivery


async def test_a_record_is_delivered_once(queue: InvocationQueue, clocks: FakeClocks) -> None:
    wakes: list[bool] = []
    queue.deliveries.on_work(lambda: wakes.append(True))
    new = await ended_with_record(queue, clocks, b'{"a":1}')
    assert wakes == [True]
    delivery = await claimed(queue)
    assert (delivery.destination, delivery.record, delivery.condition) == (URL, b'{"a":1}', "Success")
    assert (delivery.target, delivery.invocation_id, delivery.request_id) == (
        new.target,
        new.invocation_id,
        new.request_id,
    )
    assert await queue.deliveries.claim(5) == []
    assert await status_of(queue, new) == "Pending"
    assert await queue.deliveries.delivered(delivery)
    assert await status_of(queue, new) == "Delivered"
    assert not await queue.deliveries.delivered(delivery)
    clocks.advance(LEASE_S + 1)
    assert await queue.deliveries.claim(5) == []


async def test_a_failed_attempt_waits_and_is_counted(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = await ended_with_record(queue, clocks)
    delivery = await claimed(queue)
    assert await queue.deliveries.retry(delivery, clocks.wall() + 5, counted=True, error="refused")
    told = "Pending: attempt 1 failed: refused; the next is at 2023-11-14T22:30:05Z"
    assert await status_of(queue, new) == told
    assert await queue.deliveries.claim(5) == []
    clocks.advance(5)
    delivery = await claimed(queue)
    assert delivery.attempts == 1
    assert await queue.deliveries.retry(delivery, clocks.wall(), counted=False, error="")
    assert await status_of(queue, new) == told, "it was not tried"
    assert (await claimed(queue)).attempts == 1


async def test_a_dead_letter_is_read_and_sent_again(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = await ended_with_record(queue, clocks)
    delivery = await claimed(queue)
    assert await queue.deliveries.retry(delivery, clocks.wall(), counted=True, error="refused")
    delivery = await claimed(queue)
    assert await queue.deliveries.bury(delivery, "gone\0")
    assert await status_of(queue, new) == "DeadLetter: gone\ufffd"
    (letter,) = (await queue.deliveries.dead_letters("", 10)).items
    assert letter == await queue.deliveries.dead_letter(letter.id)
    assert (letter.destination, letter.record, letter.error, letter.attempts) == (URL, b"{}", "gone\ufffd", 1)
    assert (letter.invocation_id, letter.buried_at) == (new.invocation_id, clocks.wall())
    assert await queue.deliveries.claim(5) == []
    assert await queue.deliveries.replay(letter.id)
    assert not await queue.deliveries.replay(letter.id)
    assert await status_of(queue, new) == "Pending"
    assert await queue.deliveries.dead_letter(letter.id) is None
    delivery = await claimed(queue)
    assert delivery.attempts == 0
    assert await queue.deliveries.delivered(delivery)
    assert await status_of(queue, new) == "Delivered"


async def test_dead_letters_are_listed_in_pages(queue: InvocationQueue, clocks: FakeClocks) -> None:
    for number in range(5):
        await ended_with_record(queue, clocks, b"%d" % number)
        assert await queue.deliveries.bury(await claimed(queue), "no")
    seen: list[bytes] = []
    start = ""
    while True:
        page = await queue.deliveries.dead_letters(start, 2)
        seen += [letter.record for letter in page.items]
        if page.next_token is None:
            break
        start = page.next_token
    assert seen == [b"4", b"3", b"2", b"1", b"0"]
    for token in ("x", "-1", "99999999999999999999", "9" * 5000):
        with pytest.raises(Invalid, match="next_token"):
            await queue.deliveries.dead_letters(token, 2)


async def buried(queue: InvocationQueue, clocks: FakeClocks, number: int) -> list[int]:
    """So many dead letters, one second apart, the newest first."""
    for _ in range(number):
        clocks.advance(1)
        await ended_with_record(queue, clocks)
        assert await queue.deliveries.bury(await claimed(queue), "gone")
    return await kept(queue)


async def kept(queue: InvocationQueue) -> list[int]:
    return [letter.id for letter in (await queue.deliveries.dead_letters("", 100)).items]


async def test_old_dead_letters_are_forgotten(queue: InvocationQueue, clocks: FakeClocks) -> None:
    letters = await buried(queue, clocks, 4)
    assert await queue.deliveries.prune(clocks.wall() - 3600, keep=4) == 0
    assert await queue.deliveries.prune(clocks.wall() - 1.5, keep=4) == 2
    assert await kept(queue) == letters[:2]


async def test_the_newest_dead_letters_are_kept_and_what_is_still_sent_stays(
    queue: InvocationQueue, clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sesame.store.queue.deliveries.PRUNED_AT_ONCE", 2)
    letters = await buried(queue, clocks, 6)
    assert await queue.deliveries.replay(letters[-1])
    assert await queue.deliveries.prune(0.0, keep=1) == 4
    assert await kept(queue) == letters[:1]
    assert (await claimed(queue)).seq == letters[-1]


async def test_a_record_knows_which_functions_led_to_its_invocation(queue: InvocationQueue, clocks: FakeClocks) -> None:
    new = msgspec.structs.replace(new_invocation(clocks), meta=InvocationMeta(chain=("a/b", "c/d")))
    await queue.enqueue([new])
    (lease,) = await queue.claim(1)
    then = NewDelivery(destination=URL, record=b"{}", condition="Success")
    assert await queue.finish(lease, ended(clocks), [then, then])
    assert [each.chain for each in await queue.deliveries.claim(5)] == [("a/b", "c/d")] * 2


async def test_a_record_outlives_what_is_kept_of_its_invocation(queue: InvocationQueue, clocks: FakeClocks) -> None:
    await ended_with_record(queue, clocks)
    clocks.advance(10)
    assert await queue.prune(clocks.wall()) == 1
    assert (await claimed(queue)).chain == ()


async def test_a_lost_lease_changes_nothing(queue: InvocationQueue, clocks: FakeClocks, open_queue: Opener) -> None:
    new = await ended_with_record(queue, clocks)
    late = await claimed(queue)
    clocks.advance(LEASE_S + 1)
    delivery = await claimed(queue)
    for answer in (
        queue.deliveries.delivered(late),
        queue.deliveries.bury(late, "no"),
        queue.deliveries.retry(late, clocks.wall(), counted=True, error=""),
    ):
        assert not await answer
    assert await queue.deliveries.extend([late, delivery]) == [False, True]
    assert await status_of(queue, new) == "Pending"
    following = await open_queue()
    assert not await queue.deliveries.delivered(delivery)
    assert await following.deliveries.delivered(await claimed(following))


async def test_what_is_given_back_is_sent_again(queue: InvocationQueue, clocks: FakeClocks) -> None:
    await ended_with_record(queue, clocks)
    await queue.deliveries.release([await claimed(queue)])
    assert (await claimed(queue)).attempts == 0
