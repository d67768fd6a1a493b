"""Sends recordings of a follower's calls to the writer, which stores them.

`agents.follower` creates what `control.recorder` uses in place of `store.recordings`.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from sesame.agents import messages as m
from sesame.model.errors import Unavailable
from sesame.model.recording import Recording

# POLICY: beyond this, recordings that wait for the writer are dropped, so that they do not fill the memory.
WAITING_BYTES_MAX = 16 * 1024 * 1024
# What a recording takes besides its parts.
RECORDING_BYTES = 2048
# How long `close` waits for recordings under way.
CLOSES_WITHIN_S = 1.0

Recorded = Callable[[Recording], Awaitable[None]]
"""At the writer: stores a recorded call."""

log = structlog.get_logger("sesame.agents")


async def not_recorded(_recording: Recording) -> None:
    """A `Recorded` that discards the recording."""


class SentRecordings:
    """Belongs to one event loop. If the writer changes in the meantime, a recording may be stored twice."""

    def __init__(self, ask: Callable[[Callable[[int], m.Message]], Awaitable[m.Message]]) -> None:
        """`ask` is as `agents.follower.Follower.ask`."""
        self._ask = ask
        self._sending: set[asyncio.Task[None]] = set()
        self._waiting_bytes = 0
        self._dropped = 0

    def take(self, recording: Recording) -> "asyncio.Future[None]":
        """As `store.recordings.Recordings.take`."""
        size = _size(recording)
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            if not self._dropped:
                log.warning("calls come faster than recordings can be stored: some are not recorded")
            self._dropped += 1
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        self._waiting_bytes += size
        task = asyncio.get_running_loop().create_task(self._send(recording, size))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return task

    async def close(self) -> None:
        """Call once no call is running. Waits for recordings under way, for a moment."""
        if self._sending:
            _done, late = await asyncio.wait(self._sending, timeout=CLOSES_WITHIN_S)
            for each in late:
                each.cancel()
            if late:
                await asyncio.wait(late)
                log.warning("calls were not recorded: no writer has stored them", calls=len(late))

    async def _send(self, recording: Recording, size: int) -> None:
        try:
            await self._ask(lambda n: m.Record(n, recording))
        except Unavailable as away:
            log.warning("a call was not recorded", request_id=recording.request_id, why=str(away))
        finally:
            self._waiting_bytes -= size


def _size(recording: Recording) -> int:
    outcome = recording.outcome
    parts = recording.event, outcome.result, outcome.log, recording.http_params, outcome.http_result
    return RECORDING_BYTES + sum(len(each) for each in parts if each is not None)
