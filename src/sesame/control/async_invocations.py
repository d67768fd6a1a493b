"""Asynchronous invocations: accepts them into the durable queue, reads, lists and stops them (api.md §3.3, §3.6).

Called by the endpoints. Never calls the engine: stopping an invocation changes its row, and the queue notifies the
component that runs it.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from sesame.control import checks
from sesame.control.inputs import AsyncCall, AsyncOptions
from sesame.control.listing import fitting
from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model.acceptance import Wanted, new_invocation
from sesame.model.async_invocation import (
    AsyncInvocation,
    AsyncPage,
    AsyncQuery,
    InvocationMeta,
    NewInvocation,
    StopResult,
)
from sesame.model.async_result import AsyncPolicy
from sesame.model.configs import AsyncConfig
from sesame.model.errors import ASYNC_INVOCATION, AlreadyExists, Invalid, NotFound
from sesame.model.invocation import Target
from sesame.model.owner import AFTER_OWNERS
from sesame.store.catalog import Catalog

# The source of invocations that an operator repeats.
REPLAY = "replay"
_ID_CHARS = 128
_DELAY_ALLOWED = f"more than 0 and at most {limits.ASYNC_DELAY_S_MAX} seconds"


class Queue(Protocol):
    """The part of `store.queue.queue.InvocationQueue` that is used here."""

    async def enqueue(self, news: Sequence[NewInvocation]) -> list[bool]: ...

    async def get(
        self, target: Target, invocation_id: str, *, stateful_only: bool = False
    ) -> AsyncInvocation | None: ...

    async def page(self, query: AsyncQuery) -> AsyncPage: ...

    async def functions(self, start: tuple[str, str, str], limit: int) -> Sequence[Target]: ...

    async def stop(self, target: Target, invocation_id: str) -> StopResult: ...

    async def release_ids(self, service: str, function: str, is_gone: Callable[[], bool]) -> None: ...


class FunctionsPage(msgspec.Struct, frozen=True):
    """Functions in order of service, function and qualifier; `next_token` is None on the last page."""

    items: tuple[Target, ...]
    next_token: str | None


class Accepted(msgspec.Struct, frozen=True):
    """The id of a stored invocation, and whether its caller can query it by that id."""

    invocation_id: str
    stateful: bool


class AsyncInvocations:
    """`policy_of` returns the configuration of a function; `wall_clock` returns Unix seconds."""

    def __init__(
        self,
        catalog: Catalog,
        queue: Queue,
        policy_of: Callable[[Target], AsyncPolicy],
        wall_clock: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._queue = queue
        self._policy_of = policy_of
        self._wall_clock = wall_clock

    def check(self, target: Target, options: AsyncOptions) -> None:
        """Raises `NotFound` for a function that cannot be called, `Invalid` for options that are not allowed."""
        function_view(self._catalog, target.service, target.function, target.qualifier)
        if options.delay_s is not None and not 0 < options.delay_s <= limits.ASYNC_DELAY_S_MAX:
            raise Invalid("async_delay", _DELAY_ALLOWED, f"{options.delay_s:g}")
        chosen = options.stateful_async_invocation_id
        if chosen:
            checks.name("stateful_async_invocation_id", chosen, limits.INVOCATION_ID, _ID_CHARS)

    async def accept(self, call: AsyncCall) -> Accepted:
        """Commits the invocation to the queue. Once this returns, the invocation will end in a recorded state.

        Accepting the same event under the same chosen id again changes nothing, so that callers may repeat a request
        whose answer they missed. Raises `AlreadyExists` if the id belongs to another event, and the errors of `check`.
        """
        self.check(call.target, call.options)
        chosen = call.options.stateful_async_invocation_id
        new = new_invocation(self._wanted(call), self._policy_of(call.target))
        (added,) = await self._queue.enqueue([new])
        if added:
            return Accepted(new.invocation_id, new.stateful)
        if chosen:
            await self._require_same(new)
            return Accepted(chosen, new.stateful)
        # Request ids are the callers' trace ids, and one trace may invoke a function several times.
        again = msgspec.structs.replace(new, invocation_id=str(uuid.uuid4()))
        await self._queue.enqueue([again])
        return Accepted(again.invocation_id, again.stateful)

    async def get(self, target: Target, invocation_id: str) -> AsyncInvocation:
        """A stateful invocation. Raises `NotFound` for the function, and for an unknown or deleted invocation."""
        function_view(self._catalog, target.service, target.function, target.qualifier)
        found = await self._queue.get(target, invocation_id, stateful_only=True)
        if found is None:
            raise _no_invocation(target, invocation_id)
        return found

    async def find(self, target: Target, invocation_id: str) -> AsyncInvocation:
        """An invocation, stateful or not, even if its function was deleted. Raises `NotFound`."""
        found = await self._queue.get(target, invocation_id)
        if found is None:
            raise _no_invocation(target, invocation_id)
        return found

    async def replay(self, target: Target, invocation_id: str, request_id: str) -> Accepted:
        """Accepts the event of an ended invocation again, as a new invocation.

        Raises `NotFound` for an unknown invocation or a deleted function, `Invalid` if the invocation has not ended.
        """
        former = await self.find(target, invocation_id)
        if former.ended_at is None:
            raise Invalid("status", "the status of an invocation that has ended", former.state.value)
        return await self.accept(
            AsyncCall(
                target=target,
                request_id=request_id,
                payload=former.payload or b"",
                options=AsyncOptions(stateful=former.stateful),
                source=REPLAY,
                tracing=former.meta.tracing,
                http_params=former.meta.http_params,
            )
        )

    async def stop(self, target: Target, invocation_id: str) -> None:
        """A queued invocation never starts; for a running one, the instance is killed.

        On return the state is Stopped or Stopping. Raises `NotFound`, and `Invalid` for one that has ended.
        """
        result = await self._queue.stop(target, invocation_id)
        if result is StopResult.NOT_FOUND:
            raise _no_invocation(target, invocation_id)
        if result is StopResult.FINISHED:
            now = await self.find(target, invocation_id)
            raise Invalid("status", "the status of an invocation that has not ended", now.state.value)

    async def list(self, query: AsyncQuery) -> AsyncPage:
        """A page of invocations. Raises `NotFound` for a query of a function that does not exist.

        The page is shorter than requested if events and results would exceed `listing.PAGE_BYTES_MAX`.
        """
        checks.between("limit", query.limit, 1, limits.LIST_LIMIT_MAX)
        target = query.target
        if target is not None:
            function_view(self._catalog, target.service, target.function, target.qualifier)
        page = await self._queue.page(query)
        number = fitting(len(item.return_payload) + len(item.payload or b"") for item in page.items)
        if number < len(page.items):
            page = await self._queue.page(msgspec.structs.replace(query, limit=number))
        return page

    async def functions(self, token: str, limit: int) -> FunctionsPage:
        """Functions of services that are configured for stateful invocations, or that have any.

        A token is the start of the next page: `service/function/qualifier`. Raises `Invalid` for any other.
        """
        checks.between("limit", limit, 1, limits.LIST_LIMIT_MAX)
        if token and (token.count("/") != 2 or not all(token.split("/"))):
            raise Invalid("next_token", "a token of the page before", token)
        service, _slash, rest = token.partition("/")
        function, _slash, qualifier = rest.partition("/")
        start = max((service, function, qualifier), (AFTER_OWNERS, "", ""))
        kept = await self._queue.functions(start, limit + 1)
        keys = sorted({_key(target) for target in kept} | {key for key in self._stateful() if key >= start})
        items = tuple(Target(service, qualifier, function) for service, function, qualifier in keys[:limit])
        return FunctionsPage(items, "/".join(keys[limit]) if len(keys) > limit else None)

    def _stateful(self) -> Iterator[tuple[str, str, str]]:
        """Functions that are stateful by their configuration."""
        for record in self._catalog.of_kind(records.ASYNC_CONFIG):
            config: AsyncConfig = record.document
            if config.stateful_invocation:
                yield config.service, config.function, config.qualifier

    def _wanted(self, call: AsyncCall) -> Wanted:
        options = call.options
        return Wanted(
            target=call.target,
            request_id=call.request_id,
            payload=call.payload,
            source=call.source,
            not_before=self._wall_clock() + (options.delay_s or 0.0),
            invocation_id=options.stateful_async_invocation_id,
            # A caller chooses an id in order to query the invocation by it.
            stateful=bool(options.stateful_async_invocation_id) or options.stateful,
            meta=InvocationMeta(tracing=call.tracing, http_params=call.http_params, chain=call.chain),
        )

    async def _require_same(self, new: NewInvocation) -> None:
        present = await self._queue.get(new.target, new.invocation_id, stateful_only=True)
        if present is None or present.payload != new.payload:
            parent = (new.target.service, new.target.qualifier, new.target.function)
            raise AlreadyExists(ASYNC_INVOCATION, new.invocation_id, parent)


def _no_invocation(target: Target, invocation_id: str) -> NotFound:
    return NotFound(ASYNC_INVOCATION, invocation_id, (target.service, target.qualifier, target.function))


def _key(target: Target) -> tuple[str, str, str]:
    return target.service, target.function, target.qualifier
