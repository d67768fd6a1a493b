"""Sends the output of a follower's functions and its metrics rows to the writer; keeps them while there is none.

Created by `agents.follower`; `_follower` uses it as a log sink and to write metrics.
"""

from collections import deque
from collections.abc import Callable, Iterable

import structlog

from sesame.agents import messages as m
from sesame.agents.link import Link
from sesame.engine.invocation_log import LogSource
from sesame.store.logs.logstores.metric_rows import Row

# POLICY: at most about this much output waits for the writer. What exceeds it is dropped and counted, because logging
# must not delay calls.
BYTES_MAX = 16 * 1024 * 1024
ROWS_TOGETHER = 200
# What a message takes besides its text, so that many short ones are bounded too.
MESSAGE_BYTES = 512

log = structlog.get_logger("sesame.agents")


class Written:
    def __init__(self, link: Callable[[], Link | None]) -> None:
        """`link` returns the link to a writer that accepts logs, None while there is none."""
        self._link = link
        self._kept: deque[m.Wrote | m.Measured] = deque()
        self._kept_bytes = self._lost_bytes = 0

    def wrote(self, source: LogSource, request_id: str, data: bytes, more: bool) -> None:
        """A log sink (`engine.invocation_log.LogSink`)."""
        self._send(m.Wrote(source, request_id, data, more), len(data))

    async def write(self, topic: str, rows: Iterable[Row]) -> None:
        """Implements `store.logs.logstores.metric_rows.Writing`."""
        there = tuple(rows)
        for at in range(0, len(there), ROWS_TOGETHER):
            some = there[at : at + ROWS_TOGETHER]
            size = sum(len(name) + len(value) for _source, record in some for name, value in record.contents)
            self._send(m.Measured(topic, some), size)

    def _send(self, message: m.Wrote | m.Measured, size_bytes: int) -> None:
        link = self._link()
        if (self._kept_bytes if link is None else link.waiting_bytes) > BYTES_MAX:
            self._lost_bytes += size_bytes
            return
        if self._lost_bytes:
            log.error("some output of functions was dropped while the writer was away", bytes=self._lost_bytes)
            self._lost_bytes = 0
        if link is None:
            self._kept.append(message)
            self._kept_bytes += size_bytes + MESSAGE_BYTES
        else:
            link.send(message, soon=False)

    def send_kept(self, link: Link) -> None:
        """Sends everything that was kept to a writer that accepts logs again."""
        while self._kept:
            link.send(self._kept.popleft(), soon=False)
        self._kept_bytes = 0
