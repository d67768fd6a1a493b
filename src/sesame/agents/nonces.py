"""Rejects replayed nonces across agents: the writer remembers the nonces of all, and followers ask it.

Used by `agents.calls` (`NoncesOfAll`) and `agents.followed` (`NoncesOfOne`).
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from sesame.agents import messages as m
from sesame.identity.nonces import DIGEST_BYTES, UsedNonces
from sesame.model.errors import PlatformError

Ask = Callable[[Callable[[int], m.Message]], Awaitable[m.Message]]


class NoncesOfAll:
    """A follower's side. Asks one question at a time; nonces that arrive meanwhile go into the next one."""

    def __init__(self, ask: Ask) -> None:
        """`ask` returns the writer's answer, or raises `PlatformError` if there is none."""
        self._ask = ask
        self._waiting: list[tuple[bytes, asyncio.Future[bool]]] = []
        self._asking: asyncio.Task[None] | None = None

    def first_use(self, nonce: bytes) -> "asyncio.Future[bool]":
        """Resolves to whether no agent has seen the nonce (a digest) before, or to the error of `ask`."""
        first: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((nonce, first))
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask_all())
        return first

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                await self._ask_together(asked)
        finally:
            self._asking = None

    async def _ask_together(self, asked: list[tuple[bytes, "asyncio.Future[bool]"]]) -> None:
        nonces, tries = b"".join(nonce for nonce, _first in asked), itertools.count()
        try:
            answer = await self._ask(lambda n: m.UseNonces(n, nonces, next(tries) > 0))
        except PlatformError as error:
            for _nonce, first in asked:
                if not first.done():
                    first.set_exception(error)
            return
        assert isinstance(answer, m.NoncesUsed)
        used = frozenset(answer.used)
        for number, (_nonce, first) in enumerate(asked):
            # Done already if the request was cancelled.
            if not first.done():
                first.set_result(number not in used)


class NoncesOfOne:
    """The writer's side, for one follower."""

    def __init__(self, nonces: UsedNonces) -> None:
        """`nonces` are those that any agent has seen."""
        self._nonces = nonces
        self._last = m.UseNonces(0, b"", again=False)
        self._used: tuple[int, ...] = ()

    def use(self, asked: m.UseNonces) -> m.NoncesUsed:
        """Records the nonces and says which were used before. Repeats its last answer if asked `again` for the same."""
        if not (asked.again and asked.nonces == self._last.nonces):
            self._last, sent = asked, asked.nonces
            each = (sent[at : at + DIGEST_BYTES] for at in range(0, len(sent), DIGEST_BYTES))
            self._used = tuple(number for number, nonce in enumerate(each) if not self._nonces.use_digest(nonce))
        return m.NoncesUsed(asked.n, self._used)
