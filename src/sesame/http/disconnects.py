"""Cancels what a request waits for when its client hangs up.

Called by the endpoints for work that is of no use to anyone else.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from sesame.http.interface import Disconnected, Exchange

T = TypeVar("T")


async def while_connected(exchange: Exchange, work: Awaitable[T]) -> T:
    """Awaits `work`. If the client hangs up, cancels it and raises `Disconnected`.

    A cancellation for any other reason propagates.
    """
    exchange.on_disconnect(exchange.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        if exchange.uncancel():
            raise Disconnected from None
        raise
    finally:
        exchange.on_disconnect(None)
