"""Runs a test's Sesame and serves its parent's requests one by one.

Called by `testing.server` in its process. Imports all heavy modules.
"""

import asyncio
import contextlib
import gc
import math
import os
import threading
from typing import Any

import msgspec

from sesame._sandbox import SandboxOpening
from sesame.app import Sesame, Substitutes
from sesame.cli import own_log
from sesame.engine.interface import Observer
from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.settings import Settings
from sesame.testing.recorder import Recorder
from sesame.testing.requests import ACCOUNT_ID, Request, Start
from sesame.testing.state import State
from sesame.testing.virtual_clocks import VirtualClocks

# Jump slightly past a due time: floating-point rounding may fall short of it.
MARGIN_S = 0.001
# How long after its parent's end a test's Sesame may take to end before it is forced to.
END_WITHIN_S = 20.0


async def serve(start: Start, answers: int, sandbox: SandboxOpening) -> None:
    """Returns when the parent has closed standard input and all work has ended."""
    own_log.configure()
    settings = Settings(
        port=0,
        oss_port=0,
        data_dir=start.data,
        sandbox=start.sandbox,
        region=start.region,
        account_id=ACCOUNT_ID,
        drain_s=0.0,
    )
    clocks = VirtualClocks()
    recorder = Recorder()
    substitutes = Substitutes(
        log_sink=recorder.write,
        callers_wall=SYSTEM_CLOCKS.wall,
        durable=False,
        sandbox=sandbox,
    )
    sesame = Sesame(settings, clocks, Observer(ended=recorder.ended), substitutes)
    await sesame.start()
    try:
        gc.freeze()
        gc.enable()
        server = _Server(sesame, State(sesame.parts, clocks), clocks, recorder)
        _answer(answers, {"id": 0, "result": server.hello((await sandbox.opened()).runtimes)})
        await _obey(server, answers)
    finally:
        _end_in_time()
        await sesame.stop()


async def _obey(server: "_Server", answers: int) -> None:
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", closefd=False))
    requests: asyncio.Queue[Request | None] = asyncio.Queue()

    async def read() -> None:
        while line := await reader.readline():
            requests.put_nowait(msgspec.json.decode(line, type=Request))

    async def work() -> None:
        while True:
            request = await requests.get()
            assert request is not None
            try:
                answer = {"id": request.id, "result": await server.do(request)}
            except Exception as error:  # noqa: BLE001 - reported to the test that sent the request
                answer = {"id": request.id, "error": f"{type(error).__name__}: {error}"}
            _answer(answers, answer)

    working = asyncio.create_task(work())
    try:
        await read()
    finally:
        working.cancel()
        await asyncio.wait([working])


def _end_in_time() -> None:
    """Ends the process after `END_WITHIN_S`, even if it hangs."""
    timer = threading.Timer(END_WITHIN_S, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _answer(answers: int, answer: dict[str, Any]) -> None:
    data = memoryview(msgspec.json.encode(answer) + b"\n")
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(answers, data) :]


class _Server:
    def __init__(self, sesame: Sesame, state: State, clocks: VirtualClocks, recorder: Recorder) -> None:
        self._sesame = sesame
        self._state = state
        self._clocks = clocks
        self._recorder = recorder

    def hello(self, runtimes: Runtimes) -> dict[str, Any]:
        endpoints, key = self._sesame.endpoints, self._sesame.parts.identity.key
        return {
            "fc": endpoints.fc,
            "oss": endpoints.oss,
            "sls": endpoints.sls,
            "sts": endpoints.sts,
            "region": endpoints.region,
            "sandbox": endpoints.sandbox,
            "account_id": key.account_id,
            "access_key_id": key.access_key_id,
            "access_key_secret": key.secret,
            "runtimes": list(runtimes.found),
            "notices": self._sesame.notices(),
        }

    async def do(self, request: Request) -> Any:
        match request.do:
            case "records":
                return self._recorder.records()
            case "now":
                return self._clocks.wall()
            case "settle":
                return await self._state.settle()
            case "advance":
                await self._advance(request.seconds)
            case "reset":
                await self._state.reset()
                self._clocks.put_right()
                self._recorder.clear()
            case other:
                raise ValueError(f"there is no request '{other}'")
        return self._clocks.wall()

    async def _advance(self, seconds: float) -> None:
        """Advances from one due time to the next, and finishes the due work before time moves on."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"time advances by {seconds} seconds; expected a number from 0 on")
        await self._state.settle()
        until = self._clocks.wall() + seconds
        while (at := await self._state.next_at()) is not None and at <= until:
            self._clocks.jump(max(at - self._clocks.wall(), 0.0) + MARGIN_S)
            await self._state.settle()
        self._clocks.jump(max(until - self._clocks.wall(), 0.0))
        await self._state.settle()
