"""Listens on the loopback interface for a debugger, and connects it to the debugger inside a function's instance.

Used by `cli.dev` and `cli.local`. Serves one debugger at a time; other machines cannot connect.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from sesame.model.command import Execution
from sesame.model.errors import SesameError

HOST = "127.0.0.1"
PIECE_BYTES = 64 * 1024
_STDOUT = 1

# Opens a stream to the debugger in the function's instance; starts an instance if there is none.
Connect = Callable[[], AbstractAsyncContextManager[Execution]]


class DebugBridge:
    """Not thread-safe: belongs to one event loop."""

    def __init__(self, connect: Connect, say: Callable[[str], None]) -> None:
        self._connect = connect
        self._say = say
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.attached = asyncio.Event()

    async def listen(self, port: int) -> int:
        """Returns the port, which is `port` unless that is 0. Raises `OSError` if it is taken."""
        self._server = await asyncio.start_server(self._serve, HOST, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._serving:
            self._say("A debugger is already attached: the second one was refused.")
            writer.close()
            return
        self._serving.add(task)
        try:
            async with self._connect() as execution:
                self._say("A debugger is attached: calls have no timeout until it disconnects.")
                self.attached.set()
                await _relay(reader, writer, execution)
        except asyncio.CancelledError:
            # Cancelled by `close`. asyncio would log a cancelled connection handler as an error.
            pass
        except (SesameError, OSError) as error:
            self._say(f"A debugger could not be attached: {error}")
        finally:
            self.attached.clear()
            self._serving.discard(task)
            writer.close()
            self._say("The debugger has left.")


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, execution: Execution) -> None:
    """Returns when either side ends."""

    async def inward() -> None:
        while data := await reader.read(PIECE_BYTES):
            await execution.write(data)

    async def outward() -> None:
        while (piece := await execution.read()) is not None:
            if piece[0] == _STDOUT:
                writer.write(piece[1])
                await writer.drain()

    tasks = [asyncio.ensure_future(inward()), asyncio.ensure_future(outward())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, OSError):
            raise error
