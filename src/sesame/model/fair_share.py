"""Shares of a fixed amount of a resource: no client takes what clients without a share will need.

Used by `http` for connections and the memory of bodies, and by `inside` for name look-ups.
"""

import asyncio
from collections import deque


def may_have(held: int, free: int) -> bool:
    """Whether a client that holds `held` units may take one more, or one more step.

    POLICY: a client may hold at most half of the free amount. A single client gets a third; N clients get 1/(N + 2)
    each, and 2/(N + 2) stays free for newcomers, however much the clients request. A client without a share gets one
    unit while any is free.
    """
    return free > 0 and (held == 0 or held < free // 2)


class FairSlots:
    """`total` slots, at most `each` per client. Waiting clients are served in turn."""

    def __init__(self, total: int, each: int) -> None:
        self._free = total
        self._each = each
        self._held: dict[str, int] = {}
        # The client to serve next comes first.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def free(self) -> int:
        return self._free

    def take(self, client: str) -> bool:
        """Takes a slot until `give_back`; returns False if the client may have none now."""
        held = self._held.get(client, 0)
        if held >= self._each or not may_have(held, self._free):
            return False
        self._free -= 1
        self._held[client] = held + 1
        return True

    def give_back(self, client: str) -> None:
        self._free += 1
        if left := self._held[client] - 1:
            self._held[client] = left
        else:
            del self._held[client]
        self._serve()

    async def wait(self, client: str) -> None:
        """Returns when the client has a slot; the caller must `give_back` it."""
        if client not in self._waiting and self.take(client):
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                # Granted just as the task was cancelled: pass the slot on.
                self.give_back(client)
            raise

    def _serve(self) -> None:
        """Hands free slots to the waiting clients, the next client first; a served client moves to the end."""
        for client in list(self._waiting):
            queue = self._waiting[client]
            while queue and queue[0].done():
                # Cancelled.
                queue.popleft()
            granted = bool(queue) and self.take(client)
            if granted:
                queue.popleft().set_result(None)
                self._waiting[client] = self._waiting.pop(client)
            if not queue:
                del self._waiting[client]
