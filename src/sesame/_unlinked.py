"""A node that waits for the writer of its cluster at its start: callers wait too, but not for ever.

Used by `_follower`. The supervisor owns the listening socket, so callers can connect long before anything is served.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import structlog

from sesame.fc.unlinked import UnlinkedEndpoint
from sesame.http.limits import Limits
from sesame.http.server import HttpServer
from sesame.model.clocks import Clocks

log = structlog.get_logger("sesame.cluster")


async def linked(
    followed: Callable[[], Coroutine[Any, Any, None]], listening: int, within_s: float, limits: Limits, clocks: Clocks
) -> None:
    """Returns when `followed()` does. Clients that connect to the `listening` socket wait for up to `within_s`.

    After that each is answered with 503 until there is a writer. The descriptor stays open.
    """
    waiting = asyncio.ensure_future(followed())
    try:
        done, _pending = await asyncio.wait({waiting}, timeout=within_s)
        if not done:
            log.warning("this node has no writer, and answers 503 until it has one", after_s=within_s)
            async with _answering(listening, limits, clocks):
                await asyncio.wait({waiting})
        waiting.result()
    finally:
        waiting.cancel()


@contextlib.asynccontextmanager
async def _answering(listening: int, limits: Limits, clocks: Clocks) -> AsyncIterator[None]:
    server = HttpServer(UnlinkedEndpoint(clocks.wall), limits=limits, clocks=clocks)
    server.open()
    end = server.serve(socket.socket(fileno=os.dup(listening)))
    try:
        yield
    finally:
        end()
        await server.stop(0.0)
