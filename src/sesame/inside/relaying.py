"""Accepts connections on a listening socket of an instance's network, and relays bytes between two connections.

Used by `inside.proxy` and `inside.forwarding`.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import structlog

from sesame.inside.bounds import CONNECTIONS_MAX, Client, units_of_piece
from sesame.model.fair_rate import Share

BACKLOG_TAKEN_AT_ONCE = 16
# How long no connection is accepted when the process is out of descriptors.
PAUSE_S = 0.5
PIECE_BYTES = 64 * 1024

log = structlog.get_logger("sesame.inside")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Acceptor:
    """Runs `handle` for each connection, `at_once` at a time, so that no instance uses up all descriptors.

    `client` limits the rate, and the number across all sockets and instances.
    """

    def __init__(
        self, listening: socket.socket, handle: Handle, client: Client, at_once: int = CONNECTIONS_MAX
    ) -> None:
        self._listening = listening
        self._handle = handle
        self._client = client
        self._at_once = at_once
        self._waiting: asyncio.Task[None] | None = None
        # Whether a slot is held that has no connection yet.
        self._granted = False
        self._wait_no_longer: Callable[[], None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._reading = False
        self._ended = False
        self._read()

    def end(self) -> None:
        """Closes the socket and aborts its connections."""
        self._ended = True
        self._pause()
        if self._wait_no_longer is not None:
            self._wait_no_longer()
        if self._waiting is not None:
            self._waiting.cancel()
        self._give_slot_back()
        self._listening.close()
        for task in self._running:
            task.cancel()

    def _read(self) -> None:
        # While it waits for its turn, ended connections must not resume accepting.
        if not (self._reading or self._ended or self._wait_no_longer is not None):
            self._reading = True
            asyncio.get_running_loop().add_reader(self._listening.fileno(), self._accept)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self._listening.fileno())

    def _accept(self) -> None:
        for _ in range(BACKLOG_TAKEN_AT_ONCE):
            if len(self._running) >= self._at_once:
                self._give_slot_back()
                self._pause()
                return
            if not self._client.share.allows():
                self._pause()
                if self._wait_no_longer is None:
                    self._wait_no_longer = self._client.share.wait(self._turn_came)
                return
            if not self._granted and not self._client.slots.take(self._client.name):
                self._pause()
                self._wait_for_slot()
                return
            self._granted = True
            try:
                accepted, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._give_slot_back()
                return
            except OSError as error:
                self._give_slot_back()
                # Out of descriptors. The connection stays queued, and would wake the event loop again at once.
                log.warning("a function's connection cannot be accepted; trying again", error=str(error))
                self._pause()
                asyncio.get_running_loop().call_later(PAUSE_S, self._read)
                return
            # The connection owns the slot from here on.
            self._granted = False
            self._client.share.charge()
            accepted.setblocking(False)
            task = asyncio.get_running_loop().create_task(self._serve(accepted))
            self._running.add(task)
            task.add_done_callback(self._served)

    def _served(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._client.slots.give_back(self._client.name)
        self._read()

    def _give_slot_back(self) -> None:
        if self._granted:
            self._granted = False
            self._client.slots.give_back(self._client.name)

    def _wait_for_slot(self) -> None:
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_task(self._slot_granted())

    async def _slot_granted(self) -> None:
        await self._client.slots.wait(self._client.name)
        # Reset before `_go_on`, which may wait for the next slot.
        self._waiting = None
        if self._granted or self._ended:
            self._client.slots.give_back(self._client.name)
        self._granted = not self._ended
        self._go_on()

    def _turn_came(self) -> None:
        self._wait_no_longer = None
        self._go_on()

    def _go_on(self) -> None:
        """Accepts at once: if the waiting connection has vanished meanwhile, its slot is given back immediately."""
        self._read()
        if not self._ended:
            self._accept()

    async def _serve(self, accepted: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=accepted, limit=PIECE_BYTES)
        except OSError:
            # The function has already disconnected.
            accepted.close()
            return
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await closing(writer, self._handle(reader, writer))


async def closing(writer: asyncio.StreamWriter, work: Awaitable[None]) -> None:
    """Awaits `work`, then closes the connection: at once if `work` failed or was cancelled, else once all data is sent.

    The connection counts as open until then; otherwise a client that reads nothing could accumulate such connections.
    """
    try:
        await work
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    except BaseException:
        writer.transport.abort()
        raise


async def connected(client: Client, host: str, port: int, within_s: float) -> Streams:
    """Connects to an address in this machine's network when it is the client's turn. Raises `OSError`."""
    await client.opening.turn()
    client.opening.charge()
    async with asyncio.timeout(within_s):
        return await asyncio.open_connection(host, port)


async def relay(first: Streams, second: Streams, passing: Share) -> None:
    """Relays bytes in both directions, at the share's rate, until both sides have ended or either connection breaks."""
    directions = [
        asyncio.ensure_future(_pass_on(source[0], target[1], passing))
        for source, target in ((first, second), (second, first))
    ]
    try:
        await asyncio.gather(*directions)
    finally:
        for way in directions:
            way.cancel()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, passing: Share) -> None:
    while piece := await source.read(PIECE_BYTES):
        passing.charge(units_of_piece(piece))
        await passing.turn()
        target.write(piece)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
