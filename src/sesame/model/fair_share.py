"""Shares of something of which there is a fixed amount: no client takes what others, that have none yet, will need.

Used by `http` for connections and the memory of bodies, and by `inside` for look-ups of names.
"""

import asyncio
from collections import deque


def may_have(held: int, free: int) -> bool:
    """Whether a client that holds so much may have one more, or one step more.

    POLICY: at most half as much as is free. One client alone gets a third, N together get 1/(N + 2) each, and 2/(N + 2)
    stays free for who comes next, however much they ask for. Who has nothing gets something while there is any.
    """
    return free > 0 and (held == 0 or held < free // 2)


class FairSlots:
    """`total` slots, of which one client has at most `each`. Who must wait is served in turn, client by client."""

    def __init__(self, total: int, each: int) -> None:
        self._free = total
        self._each = each
        self._held: dict[str, int] = {}
        # The client that is served next comes first.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def free(self) -> int:
        return self._free

    def take(self, client: str) -> bool:
        """Whether there was a slot; it is held until `give_back`."""
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
        """Returns when the client has a slot, which it gives back."""
        if client not in self._waiting and self.take(client):
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                # In the moment of the cancellation: pass it on.
                self.give_back(client)
            raise

    def _serve(self) -> None:
        """Gives what is free to those that wait, the next client first; who is served goes behind the others."""
        for client in list(self._waiting):
            queue = self._waiting[client]
            while queue and queue[0].done():
                # It waits no longer.
                queue.popleft()
            granted = bool(queue) and self.take(client)
            if granted:
                queue.popleft().set_result(None)
                self._waiting[client] = self._waiting.pop(client)
            if not queue:
                del self._waiting[client]
