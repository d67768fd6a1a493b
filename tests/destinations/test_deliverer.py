"""Deliveries on fakes: sent, tried again, buried, and never held up by a host that does not answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from tests.destinations.test_following import made as made_destinations
from tests.destinations.test_records import ARNS
from tests.support.fakes import FakeClocks

from sesame.destinations.deliverer import Deliverer, DelivererNeeds
from sesame.destinations.policies import ATTEMPTS_MAX, PER_HOST_MAX, SEND_TIMEOUT_S, WAITING_PER_HOST_MAX
from sesame.destinations.routes import Routes
from sesame.destinations.sender import NotDelivered, NotPermitted
from sesame.model import limits
from sesame.model.async_invocation import LeasedDelivery, NewInvocation
from sesame.model.invocation import Target

FUNCTION = "acs:fc:::services/s/functions/g"


@dataclass
class Row:
    lease: LeasedDelivery
    state: str = "waiting"
    not_before: float = 0.0
    error: str = ""


class FakeDeliveries:
    def __init__(self, clocks: FakeClocks) -> None:
        self.clocks = clocks
        self.rows: list[Row] = []
        self.claims = 0
        self.fail: Exception | None = None
        self.notify: Callable[[], None] = lambda: None

    def on_work(self, callback: Callable[[], None]) -> None:
        self.notify = callback

    def add(self, destination: str, record: bytes = b'{"r":1}') -> Row:
        lease = LeasedDelivery(
            seq=len(self.rows), epoch=0, invocation_seq=7, destination=destination, record=record,
            condition="Success", attempts=0, created_at=1.0, target=Target("s", "LATEST", "f"), invocation_id="i",
            request_id="r", chain=("a/b",),
        )  # fmt: skip
        self.rows.append(Row(lease))
        return self.rows[-1]

    async def claim(self, limit: int) -> list[LeasedDelivery]:
        self._check()
        self.claims += 1
        due = [r for r in self.rows if r.state == "waiting" and r.not_before <= self.clocks.wall()][:limit]
        for row in due:
            row.state = "held"
            row.lease = msgspec.structs.replace(row.lease, epoch=row.lease.epoch + 1)
        return [row.lease for row in due]

    def end_leases(self) -> None:
        """As when the clock has jumped: what is held may be claimed again, and older leases are void then."""
        for row in self.rows:
            if row.state == "held":
                row.state = "waiting"

    async def delivered(self, lease: LeasedDelivery) -> bool:
        return self._settle(lease, "delivered", "")

    async def bury(self, lease: LeasedDelivery, error: str) -> bool:
        return self._settle(lease, "dead", error)

    async def retry(self, lease: LeasedDelivery, not_before: float, *, counted: bool, error: str) -> bool:
        row = self.rows[lease.seq]
        if not self._settle(lease, "waiting", error):
            return False
        row.not_before = not_before
        row.lease = msgspec.structs.replace(lease, attempts=lease.attempts + counted)
        return True

    async def release(self, leases: Sequence[LeasedDelivery]) -> None:
        for lease in leases:
            self._settle(lease, "waiting", "")

    def _settle(self, lease: LeasedDelivery, state: str, error: str) -> bool:
        self._check()
        row = self.rows[lease.seq]
        if row.state != "held" or row.lease.epoch != lease.epoch:
            return False
        row.state, row.error = state, error
        return True

    def _check(self) -> None:
        if self.fail is not None:
            raise self.fail


@dataclass
class FakeSender:
    """What a host does with a request: answers, fails, or (None) hangs."""

    behaviour: dict[str, Callable[[], None] | None] = field(default_factory=dict)
    sent: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    hanging: int = 0
    closed: bool = False
    anywhere: list[str] = field(default_factory=list)
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def answer_all(self) -> None:
        """Has the hosts that hang answer now."""
        for each in self.waiting:
            each.done() or each.set_result(None)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, *, anywhere: bool = False) -> None:
        self.sent.append((url, headers, body))
        if anywhere:
            self.anywhere.append(url)
        act = self.behaviour.get(url.split("/")[2], lambda: None)
        if act is None:
            self.hanging += 1
            try:
                self.waiting.append(asyncio.get_running_loop().create_future())
                await self.waiting[-1]
            finally:
                self.hanging -= 1
        else:
            act()

    async def close(self) -> None:
        self.closed = True


@dataclass
class Setup:
    clocks: FakeClocks
    queue: FakeDeliveries
    sender: FakeSender
    deliverer: Deliverer
    accepted: list[NewInvocation]
    objection: list[str]

    async def work(self) -> None:
        self.queue.notify()
        for _ in range(40):
            await asyncio.sleep(0)

    async def until_due(self) -> None:
        due = min(row.not_before for row in self.queue.rows if row.state == "waiting")
        self.clocks.advance(max(due - self.clocks.wall(), 0.0) + 1e-6)
        await self.work()


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    clocks = FakeClocks()
    queue, sender, objection = FakeDeliveries(clocks), FakeSender(), [""]
    accepted: list[NewInvocation] = []

    async def accept(news: Sequence[NewInvocation]) -> list[bool]:
        accepted.extend(news)
        return [True] * len(news)

    class Changing:
        def refusal(self, caller: Target, target: Target, record: bytes) -> str:
            return made_destinations(objection[0]).refusal(caller, target, record)

        invocation = staticmethod(made_destinations().invocation)
        too_large = staticmethod(made_destinations().too_large)
        leads_back = staticmethod(made_destinations().leads_back)

    deliverer = Deliverer(
        DelivererNeeds(
            queue=queue,
            accept=accept,
            destinations=Changing(),  # type: ignore[arg-type]
            routes=Routes(ARNS, {"acs:mns:": "http://mns/in", "acs:eventbridge:": "http://eb/in"}),
            sender=sender,
            arns=ARNS,
            clocks=clocks,
            chance=lambda: 1.0,
        )
    )
    deliverer.start()
    yield Setup(clocks, queue, sender, deliverer, accepted, objection)
    await asyncio.wait_for(deliverer.close(0.0), 30)
    assert sender.closed


def refuses() -> None:
    raise NotDelivered("answered 503", unreachable=False)


def unreachable() -> None:
    raise NotDelivered("no answer: refused", unreachable=True)


async def test_a_record_for_an_address_that_is_not_permitted_is_a_dead_letter_at_once(setup: Setup) -> None:
    def not_permitted() -> None:
        raise NotPermitted("10.0.0.1:80 is not permitted", unreachable=True)

    setup.sender.behaviour["h"] = not_permitted
    rows = [setup.queue.add("http://h/path") for _ in range(3)]
    await setup.work()
    assert {(row.state, row.error) for row in rows} == {("dead", "http://h: 10.0.0.1:80 is not permitted")}


async def test_where_the_operator_says_records_go_to_any_address(setup: Setup) -> None:
    setup.queue.add("acs:mns:cn-hangzhou:123:/queues/q/messages")
    setup.queue.add("http://h/path")
    await setup.work()
    assert setup.sender.anywhere == ["http://mns/in"]


async def test_a_record_is_posted_with_headers_that_tell_what_it_is(setup: Setup) -> None:
    row = setup.queue.add("http://h/path?q=1")
    await setup.work()
    assert row.state == "delivered"
    ((url, headers, body),) = setup.sender.sent
    assert (url, body) == ("http://h/path?q=1", b'{"r":1}')
    assert headers["Content-Type"] == "application/json"
    assert (headers["X-Fc-Request-Id"], headers["X-Sesame-Delivery-Id"]) == ("r", "0")
    assert (headers["X-Sesame-Destination"], headers["X-Sesame-Delivery-Attempt"]) == ("http://h/path?q=1", "1")


async def test_mapped_services_get_the_record_and_eventbridge_an_event(setup: Setup) -> None:
    setup.queue.add("acs:mns:cn-shanghai:123:/queues/q/messages")
    setup.queue.add("acs:eventbridge:cn-shanghai:123:eventbus/b")
    await setup.work()
    by_url = {url: (headers["Content-Type"], body) for url, headers, body in setup.sender.sent}
    assert by_url["http://mns/in"] == ("application/json", b'{"r":1}')
    content, body = by_url["http://eb/in"]
    assert content.startswith("application/cloudevents+json")
    assert msgspec.json.decode(body)["data"] == {"r": 1}


async def test_an_arn_without_a_url_is_a_dead_letter_at_once(setup: Setup) -> None:
    row = setup.queue.add("acs:mq:cn-shanghai:123:/topics/t")
    await setup.work()
    assert row.state == "dead"
    assert "--destinations" in row.error


async def test_what_fails_is_tried_again_with_growing_waits_and_buried_in_the_end(setup: Setup) -> None:
    setup.sender.behaviour["h"] = refuses
    row, waits = setup.queue.add("http://h/"), []
    await setup.work()
    while row.state == "waiting":
        waits.append(row.not_before - setup.clocks.wall())
        await setup.until_due()
    assert waits == pytest.approx([1, 4, 16, 64, 256, 600, 600], abs=0.01)
    assert row.state == "dead"
    assert row.error == f"after {ATTEMPTS_MAX} attempts: http://h: answered 503"
    assert len(setup.sender.sent) == ATTEMPTS_MAX


async def test_a_host_that_hangs_holds_up_no_other_and_gets_few_requests(setup: Setup) -> None:
    setup.sender.behaviour["hung"] = None
    hung = [setup.queue.add("http://hung/") for _ in range(300)]
    quick = setup.queue.add("http://h/")
    await setup.work()
    for _ in range(5):
        if quick.state == "waiting":
            await setup.work()
    assert quick.state == "delivered"
    assert setup.sender.hanging == PER_HOST_MAX
    setup.clocks.advance(SEND_TIMEOUT_S)
    await setup.work()
    assert setup.sender.hanging == 0, "after four requests without an answer it gets none for a while"
    assert hung[0].error == f"http://hung did not answer within {SEND_TIMEOUT_S:g} s"
    assert "dead" not in {row.state for row in hung}


async def test_many_records_for_a_slow_host_do_not_circle_through_the_queue(setup: Setup) -> None:
    setup.sender.behaviour["slow"] = None
    rows = [setup.queue.add("http://slow/") for _ in range(200)]
    await setup.work()
    waits = sorted(row.not_before - setup.clocks.wall() for row in rows if row.state == "waiting")
    assert 2 <= waits[0] <= 3
    assert waits[-1] >= 20
    assert {row.lease.attempts for row in rows} == {0}


async def test_records_for_a_host_that_is_gone_are_all_buried_in_the_time_that_their_retries_take(
    setup: Setup,
) -> None:
    setup.sender.behaviour["gone"] = unreachable
    rows = [setup.queue.add("http://gone/") for _ in range(40)]
    began = setup.clocks.wall()
    await setup.work()
    while any(row.state == "waiting" for row in rows):
        await setup.until_due()
    assert {row.state for row in rows} == {"dead"}
    assert setup.clocks.wall() - began < 3600


async def test_a_record_whose_lease_ended_while_it_waits_for_its_host_is_sent_once(setup: Setup) -> None:
    setup.sender.behaviour["h"] = None
    rows = [setup.queue.add("http://h/") for _ in range(PER_HOST_MAX + WAITING_PER_HOST_MAX)]
    await setup.work()
    assert len(setup.sender.sent) == PER_HOST_MAX
    setup.queue.end_leases()
    await setup.work()
    assert [row.lease.epoch for row in rows] == [2] * len(rows), "this process has claimed all of them again"
    setup.sender.behaviour.clear()
    setup.sender.answer_all()
    await setup.work()
    assert [row.state for row in rows] == ["delivered"] * len(rows)
    assert len(setup.sender.sent) == len(rows), "no record was sent twice"


async def test_what_was_sent_under_a_lease_that_ended_is_recorded_under_the_new_one(setup: Setup) -> None:
    setup.sender.behaviour["h"] = None
    row = setup.queue.add("http://h/")
    await setup.work()
    setup.queue.end_leases()
    await setup.work()
    setup.sender.answer_all()
    await setup.work()
    assert row.state == "delivered"
    assert len(setup.sender.sent) == 1


async def test_a_host_that_answers_again_gets_what_waits(setup: Setup) -> None:
    setup.sender.behaviour["h"] = unreachable
    rows = [setup.queue.add("http://h/") for _ in range(6)]
    await setup.work()
    del setup.sender.behaviour["h"]
    while any(row.state == "waiting" for row in rows):
        await setup.until_due()
    assert {row.state for row in rows} == {"delivered"}


async def test_a_function_gets_the_record_as_its_event_once_it_may_be_invoked(setup: Setup) -> None:
    setup.objection[0] = "the role does not allow it"
    row = setup.queue.add(FUNCTION)
    await setup.work()
    assert (row.state, row.error) == ("waiting", "the role does not allow it")
    setup.objection[0] = ""
    await setup.until_due()
    assert row.state == "delivered"
    (new,) = setup.accepted
    assert (new.target, new.payload, new.source) == (Target("s", "LATEST", "g"), b'{"r":1}', "destination")
    assert new.meta.chain == ("a/b", "s/f"), "what led to its caller counts, too"


async def test_a_record_that_is_too_large_for_an_event_is_a_dead_letter_at_once(setup: Setup) -> None:
    row = setup.queue.add(FUNCTION, b"x" * (limits.ASYNC_PAYLOAD_BYTES + 1))
    await setup.work()
    assert row.state == "dead"
    assert "an asynchronous event at most 131072" in row.error
    assert not setup.accepted


async def test_what_was_sent_is_recorded_once_the_queue_can_be_written_again(setup: Setup) -> None:
    setup.sender.behaviour["h"] = None
    row = setup.queue.add("http://h/")
    await setup.work()
    setup.sender.behaviour.clear()
    other = setup.queue.add(FUNCTION)
    await setup.work()
    assert other.state == "delivered"
    setup.queue.fail = OSError("the database is gone")
    setup.clocks.advance(SEND_TIMEOUT_S)
    await setup.work()
    setup.queue.fail = None
    for _ in range(4):
        setup.clocks.advance(15)
        await setup.work()
    assert row.state == "delivered", "the second attempt arrived"


async def test_at_the_end_nothing_is_sent_and_what_did_not_arrive_goes_back(setup: Setup) -> None:
    setup.sender.behaviour["h"] = None
    rows = [setup.queue.add("http://h/") for _ in range(6)]
    await setup.work()
    closing = asyncio.create_task(setup.deliverer.close(5.0))
    await setup.work()
    setup.clocks.advance(5.0)
    await closing
    assert {row.state for row in rows} == {"waiting"}
    assert {row.lease.attempts for row in rows} == {0}
    assert setup.sender.hanging == 0


@pytest.mark.parametrize("early", [True, False])
async def test_who_hurries_the_end_has_what_is_being_sent_go_back_at_once(setup: Setup, early: bool) -> None:
    setup.sender.behaviour["h"] = None
    row = setup.queue.add("http://h/")
    await setup.work()
    closing = asyncio.create_task(setup.deliverer.close(5.0))
    if not early:
        await setup.work()
        assert not closing.done()
    setup.deliverer.hurry()
    await asyncio.wait_for(closing, 60)
    assert row.state == "waiting"
    assert setup.sender.hanging == 0


async def test_an_idle_deliverer_asks_nothing_and_sets_no_timer(setup: Setup) -> None:
    await setup.work()
    before = setup.queue.claims
    setup.clocks.advance(3600)
    await setup.work()
    assert setup.queue.claims == before + 1
    assert not setup.clocks.timers
