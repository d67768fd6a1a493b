"""A queue of asynchronous invocations that keeps its rows in memory, for tests of what accepts and lists them.

Keeps the promises of `store.queue.queue.InvocationQueue` that `control` relies on; runs nothing by itself.
"""

from collections.abc import Callable, Sequence

import msgspec

from sesame.model.async_invocation import (
    FINAL,
    LEASED,
    AsyncInvocation,
    AsyncPage,
    AsyncQuery,
    DeadLetter,
    DeadLetterPage,
    InvocationEvent,
    NewInvocation,
    State,
    StopResult,
)
from sesame.model.invocation import Target


class FakeDeliveries:
    """Holds dead letters by their numbers; `replayed` has those that were to be delivered anew."""

    def __init__(self) -> None:
        self.letters: dict[int, DeadLetter] = {}
        self.replayed: list[int] = []

    async def dead_letters(self, start: str, limit: int) -> DeadLetterPage:
        numbers = sorted((number for number in self.letters if not start or number < int(start)), reverse=True)
        page = tuple(self.letters[number] for number in numbers[:limit])
        return DeadLetterPage(page, str(page[-1].id) if len(numbers) > limit else None)

    async def dead_letter(self, number: int) -> DeadLetter | None:
        return self.letters.get(number)

    async def replay(self, number: int) -> bool:
        if self.letters.pop(number, None) is None:
            return False
        self.replayed.append(number)
        return True


class FakeQueue:
    """`failure` is raised by everything that writes, and nothing is kept then."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self.rows: list[AsyncInvocation] = []
        self.news: list[NewInvocation] = []
        self.failure: Exception | None = None
        self.deliveries = FakeDeliveries()

    async def enqueue(self, news: Sequence[NewInvocation]) -> list[bool]:
        if self.failure is not None:
            raise self.failure
        return [self._add(new) for new in news]

    def _add(self, new: NewInvocation) -> bool:
        present = self._find(new.target, new.invocation_id)
        if new.stateful and present is not None and present.stateful:
            return False
        self.news.append(new)
        now = self._wall_clock()
        row = AsyncInvocation(
            seq=len(self.rows) + 1,
            state=State.ENQUEUED,
            enqueued_at=now,
            events=(InvocationEvent(1, State.ENQUEUED.value, now),),
            next_at=max(new.not_before, now),
            **{field: getattr(new, field) for field in new.__struct_fields__ if field != "not_before"},
        )
        self.rows.append(row)
        return True

    async def get(self, target: Target, invocation_id: str, *, stateful_only: bool = False) -> AsyncInvocation | None:
        found = self._find(target, invocation_id)
        return None if found is None or (stateful_only and not found.stateful) else found

    async def page(self, query: AsyncQuery) -> AsyncPage:
        rows = [row for row in self.rows if _matches(query, row)]
        if query.newest_first:
            rows.reverse()
        if query.start:
            rows = [
                row
                for row in rows
                if (row.seq <= int(query.start)) == query.newest_first or row.seq == int(query.start)
            ]
        page = rows[: query.limit]
        if not query.with_payload:
            page = [msgspec.structs.replace(row, payload=None) for row in page]
        return AsyncPage(tuple(page), str(rows[query.limit].seq) if len(rows) > query.limit else None)

    async def functions(self, start: tuple[str, str, str], limit: int) -> Sequence[Target]:
        keys = {(row.target.service, row.target.function, row.target.qualifier) for row in self.rows if row.stateful}
        found = sorted(key for key in keys if key >= start)
        return [Target(service, qualifier, function) for service, function, qualifier in found[:limit]]

    async def stop(self, target: Target, invocation_id: str) -> StopResult:
        row = self._find(target, invocation_id)
        if row is None:
            return StopResult.NOT_FOUND
        if row.state in FINAL:
            return StopResult.FINISHED
        if row.state not in LEASED:
            self.set(row.seq, state=State.STOPPED)
            return StopResult.STOPPED
        self.set(row.seq, state=State.STOPPING)
        return StopResult.STOPPING

    async def release_ids(self, service: str, function: str, is_gone: Callable[[], bool]) -> None:
        for row in self.rows:
            if is_gone() and (row.target.service, row.target.function) == (service, function):
                self.set(row.seq, stateful=False)

    def set(self, seq: int, **changes: object) -> None:
        """Has a row be as what runs invocations would make it."""
        self.rows[seq - 1] = msgspec.structs.replace(self.rows[seq - 1], **changes)

    def _find(self, target: Target, invocation_id: str) -> AsyncInvocation | None:
        return next((row for row in self.rows if (row.target, row.invocation_id) == (target, invocation_id)), None)


def _matches(query: AsyncQuery, row: AsyncInvocation) -> bool:
    return (
        (query.target is None or row.target == query.target)
        and (row.stateful or not query.stateful_only)
        and query.status in (None, row.state)
        and (query.started_from is None or row.enqueued_at >= query.started_from)
        and (query.started_to is None or row.enqueued_at <= query.started_to)
        and row.invocation_id.startswith(query.id_prefix)
    )
