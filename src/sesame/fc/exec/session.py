"""Relays input and output between a running command and the client's websocket.

Created by `fc.exec.endpoint` once the caller is authorized and the command runs. Buffers at most `UNREAD_MESSAGES`; the
client is not read until the command has taken some.
"""

import asyncio
import contextlib
from typing import Any

import msgspec

from sesame.fc.exec import frames as exec_frames
from sesame.fc.exec.frames import SERVER_CLOSE, SERVER_ERROR, STDERR, STDOUT, Characters, EndOfInput, Resize
from sesame.http.interface import Disconnected, WebSocket
from sesame.model.clocks import Clocks
from sesame.model.command import Execution

# Messages that the command has not read yet. Up to this number, a closed connection is noticed at once.
UNREAD_MESSAGES = 16
NORMAL, GOING_AWAY = 1000, 1001


class ExecOptions(msgspec.Struct, frozen=True):
    """The options in the query. With `stdin`, `stdout` or `stderr` False, that stream is discarded."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool
    idle_timeout_s: int


class Session:
    """`run` returns when the command ends, the connection ends, or neither sent anything for `idle_timeout_s`."""

    def __init__(self, execution: Execution, options: ExecOptions, websocket: WebSocket, clocks: Clocks) -> None:
        self._execution = execution
        self._options = options
        self._websocket = websocket
        self._unread: asyncio.Queue[Any] = asyncio.Queue(UNREAD_MESSAGES)
        self._clocks = clocks
        self._stirred = clocks.monotonic()

    async def run(self) -> int | None:
        """Returns the exit code of the command, or None when the connection has ended."""
        parts = {
            "heard": asyncio.create_task(self._hear()),
            "fed": asyncio.create_task(self._feed()),
            "said": asyncio.create_task(self._say()),
            "idle": asyncio.create_task(self._wait_for_silence()),
        }
        ends = [parts["heard"], parts["said"], parts["idle"]]
        try:
            await asyncio.wait([*ends, parts["fed"]], return_when=asyncio.FIRST_COMPLETED)
            while not any(end.done() for end in ends):
                parts["fed"].result()
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if parts["said"].done():
                return parts["said"].result()
            if parts["idle"].done():
                await self._tell(SERVER_ERROR, f"nothing was sent for {self._options.idle_timeout_s} seconds".encode())
                await self.close(NORMAL, "idle timeout")
            return None
        except Disconnected:
            return None
        finally:
            for part in parts.values():
                part.cancel()
            await asyncio.wait(parts.values())

    async def end(self, code: int, *, instance_ended: bool) -> None:
        """Sends how the command ended and closes. Exit code 0 needs no message, which clients may take for an error."""
        try:
            if instance_ended:
                await self._tell(SERVER_ERROR, b"the instance has ended")
                await self.close(GOING_AWAY, "the instance has ended")
                return
            if code:
                await self._tell(SERVER_CLOSE, f"exit status {code}".encode())
            await self.close(NORMAL, f"exit status {code}")
        except Disconnected:
            # The client hung up and does not need the exit code.
            return

    async def close(self, code: int, reason: str) -> None:
        await self._websocket.close(code, reason)

    async def _hear(self) -> None:
        with contextlib.suppress(Disconnected):
            while True:
                message = await self._websocket.receive()
                self._stir()
                received = exec_frames.received(message, tty=self._options.tty)
                if isinstance(received, Resize):
                    self._execution.resize(received.columns, received.rows)
                elif self._options.stdin:
                    await self._unread.put(received)

    async def _feed(self) -> None:
        while True:
            received = await self._unread.get()
            if isinstance(received, EndOfInput):
                self._execution.end_input()
            else:
                await self._execution.write(received.data)

    async def _say(self) -> int:
        wanted = {STDOUT: self._options.stdout, STDERR: self._options.stderr}
        characters = {kind: Characters() for kind in wanted}
        while (piece := await self._execution.read()) is not None:
            self._stir()
            kind, data = piece
            if wanted[kind]:
                await self._tell(kind, characters[kind].whole(data))
        for kind, decoder in characters.items():
            await self._tell(kind, decoder.rest())
        return await self._execution.wait()

    async def _tell(self, kind: int, data: bytes) -> None:
        if data:
            await self._websocket.send(exec_frames.to_send(kind, data))

    def _stir(self) -> None:
        self._stirred = self._clocks.monotonic()

    async def _wait_for_silence(self) -> None:
        while (left_s := self._stirred + self._options.idle_timeout_s - self._clocks.monotonic()) > 0:
            await self._clocks.sleep(left_s)
