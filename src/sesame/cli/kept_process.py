"""The process that keeps a local function warm between commands; `cli.kept` starts it and sends its order to stdin.

It ends when the function was not called for the time given in the last call, when its code has changed, and on
SIGTERM; its instance and its socket end with it.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from sesame.cli import own_log
from sesame.cli.kept import FRAME_BYTES_MAX, LENGTH, Ask, Order, Said, order_of
from sesame.cli.local import Calls, opened
from sesame.engine.invocation_log import LogSource
from sesame.model.errors import SesameError

# Limits how long a function is kept; each call sets its duration.
KEEP_S_MAX = 3600.0
FIRST_CALL_PATIENCE_S = 60.0


class Keeping:
    """The calls of one kept function, one at a time."""

    def __init__(self, order: Order, say: Callable[[str], None]) -> None:
        """`say` tells the command that started this process to go on, or what is wrong."""
        self._order = order
        self._say = say
        self._writer: asyncio.StreamWriter | None = None
        self._one_at_a_time = asyncio.Lock()
        self._ended = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._has_socket = True

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        async with opened(
            self._order.function, self._order.settings, lambda line: None, sink=self._wrote, keep_alive_s=KEEP_S_MAX
        ) as calls:
            server = await self._listen(calls)
            self._end_in(FIRST_CALL_PATIENCE_S)
            self._say("ready")
            await self._ended.wait()
            server.close()
            # A call in progress ends before its instance.
            async with self._one_at_a_time:
                self._forget_socket()

    async def _listen(self, calls: Calls) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, msgspec.DecodeError):
                await self._serve(calls, reader, writer)
            writer.close()

        before = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(serve, self._order.socket)
        finally:
            os.umask(before)

    async def _serve(self, calls: Calls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        if length > FRAME_BYTES_MAX:
            return
        ask = msgspec.msgpack.decode(await reader.readexactly(length), type=Ask)
        if ask.fingerprint != self._order.fingerprint or self._ended.is_set():
            self._forget_socket()
            _send(writer, Said(stale=True))
            self._ended.set()
            return
        async with self._one_at_a_time:
            self._end_in(None)
            _send(writer, Said())
            self._writer = writer
            try:
                _send(writer, Said(outcome=await calls.call(ask.call)))
            except SesameError as error:
                _send(writer, Said(error=str(error)))
            finally:
                self._writer = None
                self._end_in(min(ask.keep_s, KEEP_S_MAX))
            await writer.drain()

    def _wrote(self, _source: LogSource, _request_id: str, data: bytes, _more: bool) -> None:
        if self._writer is not None:
            _send(self._writer, Said(log=data))

    def _end_in(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._ended.set)

    def _forget_socket(self) -> None:
        """Removes only this process's socket: a process that replaced this one already has its own."""
        if self._has_socket:
            self._has_socket = False
            Path(self._order.socket).unlink(missing_ok=True)


def _send(writer: asyncio.StreamWriter, said: Said) -> None:
    data = msgspec.msgpack.encode(said)
    writer.write(LENGTH.pack(len(data)) + data)


class _Answer:
    """Answers the waiting command once, through a descriptor that no process of the sandbox inherits."""

    def __init__(self) -> None:
        self._fd = os.dup(sys.stdout.fileno())
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

    def say(self, text: str) -> None:
        if self._fd >= 0:
            os.write(self._fd, text.encode())
            os.close(self._fd)
            self._fd = -1


def main() -> None:
    answer = _Answer()
    order = order_of(sys.stdin.buffer.read())
    own_log.configure()
    try:
        asyncio.run(Keeping(order, answer.say).run())
    except (SesameError, OSError) as error:
        answer.say(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
