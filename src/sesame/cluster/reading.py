"""Reads an exact number of bytes from another node's connection, leaving the rest for whoever gets the connection."""

import asyncio
import socket


async def read_exactly(connected: socket.socket, count: int) -> bytes:
    """Reads `count` bytes from a non-blocking socket. Raises `ConnectionResetError` if the connection ends before."""
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < count:
        part = await loop.sock_recv(connected, count - len(data))
        if not part:
            raise ConnectionResetError(f"the other node has ended after {len(data)} of {count} bytes")
        data += part
    return data
