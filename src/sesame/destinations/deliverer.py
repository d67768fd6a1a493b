"""Delivers records of finished invocations: claims, sends and retries them, and keeps failures as dead letters.

Started and closed by `_async`. Waits for the queue's notifications and never polls it. A host that does not answer does
not delay others: each has its own slots.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
import structlog

from sesame.destinations.following import Destinations, FunctionCall
from sesame.destinations.policies import (
    AT_ONCE_MAX,
    ATTEMPTS_MAX,
    PER_HOST_MAX,
    SEND_TIMEOUT_S,
    SILENT_MAX,
    SILENT_REST_S,
    WAITING_PER_HOST_MAX,
    crowded_s,
    retry_s,
)
from sesame.destinations.records import EventFacts, cloud_event
from sesame.destinations.routes import FunctionRoute, NoRoute, Routes, UrlRoute
from sesame.destinations.sender import NotDelivered, NotPermitted, Sender
from sesame.model.arn import Arns
from sesame.model.async_invocation import LeasedDelivery, NewInvocation
from sesame.model.clocks import Clocks
from sesame.model.last_wait import LastWait
from sesame.model.owner import label
from sesame.model.recursion import extended
from sesame.model.shortened import shortened
from sesame.model.write_again import write_until_taken

CLAIM_AGAIN_S = 1.0
LAST_WRITES_S = 5.0
ERROR_CHARS_MAX = 1024

log = structlog.get_logger(__name__)


class DeliveryWork(Protocol):
    """Leases on records; implemented by `store.queue`.

    Methods return False if the lease was lost; nothing was then written.
    """

    async def claim(self, limit: int) -> list[LeasedDelivery]: ...

    async def delivered(self, lease: LeasedDelivery) -> bool: ...

    async def retry(self, lease: LeasedDelivery, not_before: float, *, counted: bool, error: str) -> bool: ...

    async def bury(self, lease: LeasedDelivery, error: str) -> bool: ...

    async def release(self, leases: Sequence[LeasedDelivery]) -> None: ...

    def on_work(self, callback: Callable[[], None]) -> None: ...


class DelivererNeeds(msgspec.Struct, frozen=True, kw_only=True):
    """`accept` commits invocations to the queue; `chance` returns numbers in [0, 1)."""

    queue: DeliveryWork
    accept: Callable[[Sequence[NewInvocation]], Awaitable[list[bool]]]
    destinations: Destinations
    routes: Routes
    sender: Sender
    arns: Arns
    clocks: Clocks
    chance: Callable[[], float]


class _Delivery(msgspec.Struct, eq=False):
    """A claimed record. `lease` is replaced if the record is claimed again before it is settled."""

    lease: LeasedDelivery


class _Host(msgspec.Struct, eq=False):
    """One origin. `silent` counts consecutive requests without an answer; no request is sent before `rests_until`.

    While `silent` is not 0, the host gets one request at a time.
    """

    name: str
    sending: int = 0
    # When records that were put off become due again (monotonic), approximately in order.
    back_at: deque[float] = msgspec.field(default_factory=deque)
    silent: int = 0
    rests_until: float = 0.0
    waiting: deque[tuple[_Delivery, UrlRoute]] = msgspec.field(default_factory=deque)

    @property
    def free(self) -> bool:
        return self.sending < (1 if self.silent else PER_HOST_MAX)

    @property
    def idle(self) -> bool:
        return not self.sending and not self.waiting and not self.back_at


class Deliverer:
    """Not thread-safe: belongs to one event loop. Call `start` once, then `close` once."""

    def __init__(self, needs: DelivererNeeds) -> None:
        self._needs = needs
        self._hosts: dict[str, _Host] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Records being sent, waiting for their host or being settled, by `seq`.
        self._held: dict[int, _Delivery] = {}
        self._more = False
        self._claiming: asyncio.Task[None] | None = None
        self._quiet = False
        self._wait = LastWait(needs.clocks, lambda: self._tasks)

    def start(self) -> None:
        self._needs.queue.on_work(self._on_work)
        self._on_work()

    async def close(self, patience_s: float) -> None:
        """Claims nothing more. Records being sent have `patience_s` to arrive; the others return to the queue."""
        self._quiet = True
        if self._claiming is not None:
            self._claiming.cancel()
            await asyncio.wait([self._claiming])
        waiting = [delivery.lease for host in self._hosts.values() for delivery, _route in host.waiting]
        for host in self._hosts.values():
            host.waiting.clear()
        for lease in waiting:
            del self._held[lease.seq]
        await self._release(waiting)
        # Lets new tasks take their first step: one cancelled before it would not release its lease.
        await asyncio.sleep(0)
        await self._wait.patiently(patience_s)
        for task in self._tasks:
            task.cancel()
        await self._wait.at_most(LAST_WRITES_S)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        await self._needs.sender.close()

    def hurry(self) -> None:
        """Ends the patience of `close`, also of a later call, and none of its other waits."""
        self._wait.hurry()

    def _on_work(self) -> None:
        self._more = True
        self._pump()

    def _pump(self) -> None:
        free = AT_ONCE_MAX - len(self._tasks)
        if self._more and self._claiming is None and not self._quiet and free > 0:
            self._more = False
            self._claiming = asyncio.get_running_loop().create_task(self._claim(free))

    async def _claim(self, limit: int) -> None:
        try:
            leases = await self._needs.queue.claim(limit)
            self._more = self._more or len(leases) >= limit
            for lease in leases:
                self._take(lease)
        except Exception as error:  # noqa: BLE001 - any database error is retried
            log.warning("deliveries could not be claimed", error=str(error), again_s=CLAIM_AGAIN_S)
            self._more = True
            await self._needs.clocks.sleep(CLAIM_AGAIN_S)
        finally:
            self._claiming = None
        self._pump()

    def _take(self, lease: LeasedDelivery) -> None:
        known = self._held.get(lease.seq)
        if known is not None:
            # The lease had expired, after a jump of the clock or while the database was unavailable. The record is
            # still sent only once, and the result is written under the new lease.
            known.lease = lease
            return
        delivery = self._held[lease.seq] = _Delivery(lease)
        route = self._needs.routes.find(lease.destination)
        if isinstance(route, NoRoute):
            self._begin(delivery, self._bury(delivery, route.reason))
        elif isinstance(route, FunctionRoute):
            self._begin(delivery, self._invoke(delivery, route))
        else:
            self._take_for_host(delivery, route)

    def _take_for_host(self, delivery: _Delivery, route: UrlRoute) -> None:
        parts = urlsplit(route.url)
        name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        host = self._hosts.setdefault(name, _Host(name))
        now = self._needs.clocks.monotonic()
        while host.back_at and host.back_at[0] <= now:
            host.back_at.popleft()
        if now < host.rests_until:
            self._begin(delivery, self._failed(delivery, f"{name} has not answered lately"))
        elif host.free:
            self._send(host, delivery, route)
        elif len(host.waiting) < WAITING_PER_HOST_MAX:
            host.waiting.append((delivery, route))
        else:
            delay_s = crowded_s(len(host.back_at), self._needs.chance())
            host.back_at.append(now + delay_s)
            self._begin(delivery, self._put_off(delivery, delay_s))

    def _send(self, host: _Host, delivery: _Delivery, route: UrlRoute) -> None:
        host.sending += 1
        self._begin(delivery, self._post(host, delivery, route))

    def _begin(self, delivery: _Delivery, work: Awaitable[None]) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(self._work(delivery, work)))

    async def _work(self, delivery: _Delivery, work: Awaitable[None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await work
        except asyncio.CancelledError:
            await self._release([delivery.lease])
        except Exception:
            # The lease expires, and the record is then sent again.
            log.exception("a delivery failed", **_shown(delivery.lease))
        finally:
            del self._held[delivery.lease.seq]
            self._tasks.discard(task)
            self._wait.look()
        self._pump()

    async def _post(self, host: _Host, delivery: _Delivery, route: UrlRoute) -> None:
        try:
            error = await self._answer(host, delivery.lease, route)
        except NotPermitted as refused:
            await self._bury(delivery, f"{host.name}: {refused}")
            return
        finally:
            host.sending -= 1
            self._next(host)
        if error:
            await self._failed(delivery, error)
        else:
            await self._write(delivery, self._needs.queue.delivered)

    async def _answer(self, host: _Host, lease: LeasedDelivery, route: UrlRoute) -> str:
        """Sends the record; returns why it did not arrive, or "". Raises `NotPermitted`."""
        content, body = "application/json", lease.record
        if route.as_event:
            content, body = "application/cloudevents+json; charset=utf-8", self._event(lease)
        headers = {
            "Content-Type": content,
            "User-Agent": "Sesame",
            "X-Fc-Request-Id": lease.request_id,
            "X-Sesame-Destination": lease.destination,
            "X-Sesame-Condition": lease.condition,
            "X-Sesame-Delivery-Id": str(lease.seq),
            "X-Sesame-Delivery-Attempt": str(lease.attempts + 1),
        }
        sending = asyncio.ensure_future(self._needs.sender.send(route.url, headers, body, anywhere=route.of_operator))
        timer = self._needs.clocks.call_later(SEND_TIMEOUT_S, lambda: _cancel(sending))
        try:
            await asyncio.wait([sending])
        finally:
            timer.cancel()
            sending.cancel()
        if sending.cancelled():
            self._note(host, silent=True)
            return f"{host.name} did not answer within {SEND_TIMEOUT_S:g} s"
        error = sending.exception()
        if error is None:
            self._note(host, silent=False)
            return ""
        if not isinstance(error, NotDelivered) or isinstance(error, NotPermitted):
            raise error
        self._note(host, silent=error.unreachable)
        return f"{host.name}: {error}"

    def _event(self, lease: LeasedDelivery) -> bytes:
        subject = self._needs.arns.of_target(lease.target)
        facts = EventFacts(f"{lease.request_id}-{lease.seq}", subject, lease.condition, lease.created_at)
        return cloud_event(lease.record, facts, self._needs.arns)

    def _note(self, host: _Host, *, silent: bool) -> None:
        host.silent = host.silent + 1 if silent else 0
        if host.silent >= SILENT_MAX:
            host.rests_until = self._needs.clocks.monotonic() + SILENT_REST_S
            log.warning("a destination does not answer", host=host.name, rests_s=SILENT_REST_S)

    def _next(self, host: _Host) -> None:
        """Sends the records that wait for the host; while the host rests, counts them as failed attempts."""
        if self._needs.clocks.monotonic() < host.rests_until:
            while host.waiting:
                delivery, _route = host.waiting.popleft()
                self._begin(delivery, self._failed(delivery, f"{host.name} has not answered lately"))
        while host.waiting and host.free:
            self._send(host, *host.waiting.popleft())
        if host.idle and not host.silent:
            del self._hosts[host.name]

    async def _invoke(self, delivery: _Delivery, route: FunctionRoute) -> None:
        """Invokes a function that could not be invoked when the invocation ended, or whose dead letter is replayed."""
        destinations, lease = self._needs.destinations, delivery.lease
        chain = extended(lease.chain, lease.target)
        never = destinations.too_large(lease.record) or destinations.leads_back(chain, route.target, lease.record)
        if never:
            # This will not change, while a permission or a function may still be added.
            await self._bury(delivery, never)
            return
        if refusal := destinations.refusal(lease.target, route.target, lease.record):
            await self._failed(delivery, refusal)
            return
        call = FunctionCall(route.target, lease.record, f"delivery-{lease.seq}-{lease.request_id}", chain)
        new = destinations.invocation(call)

        async def accepted(_lease: LeasedDelivery) -> bool:
            await self._needs.accept([new])
            return True

        await self._write(delivery, accepted)
        await self._write(delivery, self._needs.queue.delivered)

    async def _failed(self, delivery: _Delivery, error: str) -> None:
        attempts = delivery.lease.attempts + 1
        if attempts >= ATTEMPTS_MAX:
            await self._bury(delivery, f"after {attempts} attempts: {error}")
            return
        not_before = self._needs.clocks.wall() + retry_s(attempts, self._needs.chance())
        error = shortened(error, ERROR_CHARS_MAX)
        await self._write(delivery, lambda lease: self._needs.queue.retry(lease, not_before, counted=True, error=error))

    async def _put_off(self, delivery: _Delivery, delay_s: float) -> None:
        not_before = self._needs.clocks.wall() + delay_s
        await self._write(delivery, lambda lease: self._needs.queue.retry(lease, not_before, counted=False, error=""))

    async def _bury(self, delivery: _Delivery, error: str) -> None:
        log.warning("a record was not delivered; it is now a dead letter", error=error, **_shown(delivery.lease))
        error = shortened(error, ERROR_CHARS_MAX)
        await self._write(delivery, lambda lease: self._needs.queue.bury(lease, error))

    async def _write(self, delivery: _Delivery, write: Callable[[LeasedDelivery], Awaitable[bool]]) -> None:
        """Returns when the queue has accepted or refused the write under the current lease."""

        def failed(error: Exception) -> None:
            log.warning("the result of a delivery is held in memory until it can be written", error=str(error))

        lease, written = await write_until_taken(delivery, write, self._needs.clocks.sleep, failed)
        if written and delivery.lease is not lease:
            # The write made the record due, and it was claimed again before this task resumed.
            await self._release([delivery.lease])

    async def _release(self, leases: list[LeasedDelivery]) -> None:
        if leases:
            try:
                await self._needs.queue.release(leases)
            except Exception as error:  # noqa: BLE001 - after any error the leases expire
                log.warning(
                    "leases of deliveries were not given back; they will expire", count=len(leases), error=str(error)
                )


def _cancel(task: "asyncio.Future[None]") -> None:
    task.cancel()


def _shown(lease: LeasedDelivery) -> dict[str, str]:
    target = lease.target
    return {
        "destination": lease.destination,
        "function": label(target.service, target.function, target.qualifier),
        "request_id": lease.request_id,
    }
