"""What functions of a follower write, and rows of its metrics, on the way to the writer; kept while there is none.

Used by `agents.follower`, for which it is a log sink, and by `_follower`.
"""

from collections import deque
from collections.abc import Callable, Iterable

import structlog

from sesame.agents import messages as m
from sesame.agents.link import Link
from sesame.engine.invocation_log import LogSource
from sesame.store.logs.logstores.metric_rows import Row

# POLICY: of what functions write, so much waits for the writer; what is more is counted and dropped, as a log must not
# hold up calls.
BYTES_MAX = 16 * 1024 * 1024
ROWS_TOGETHER = 200

log = structlog.get_logger("sesame.agents")


class Written:
    def __init__(self, link: Callable[[], Link | None]) -> None:
        """`link` gives the way to a writer that takes logs, None while there is none."""
        self._link = link
        self._kept: deque[m.Wrote | m.Measured] = deque()
        self._kept_bytes = self._lost_bytes = 0

    def wrote(self, source: LogSource, request_id: str, data: bytes, more: bool) -> None:
        """As a log sink."""
        self._send(m.Wrote(source, request_id, data, more), len(data))

    async def write(self, topic: str, rows: Iterable[Row]) -> None:
        """As `store.logs.logstores.metric_rows.Writing`."""
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
            log.error("of functions' logs some was lost while the writer was away", bytes=self._lost_bytes)
            self._lost_bytes = 0
        if link is None:
            self._kept.append(message)
            self._kept_bytes += size_bytes
        else:
            link.send(message, soon=False)

    def send_kept(self, link: Link) -> None:
        """A writer takes logs again."""
        while self._kept:
            link.send(self._kept.popleft(), soon=False)
        self._kept_bytes = 0
