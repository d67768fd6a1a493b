"""Reads what comes before a connection of another node belongs to somebody: so many bytes, and none of those behind."""

import asyncio
import socket


async def read_exactly(connected: socket.socket, count: int) -> bytes:
    """Raises `ConnectionResetError` where there are fewer. The socket does not block."""
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < count:
        part = await loop.sock_recv(connected, count - len(data))
        if not part:
            raise ConnectionResetError(f"the other node has ended after {len(data)} of {count} bytes")
        data += part
    return data
