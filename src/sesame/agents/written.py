"""What functions of a follower write, on its way to the writer; kept while there is none.

Used by `agents.follower`, for which it is a log sink.
"""

from collections import deque
from collections.abc import Callable

import structlog

from sesame.agents import messages as m
from sesame.agents.link import Link
from sesame.engine.invocation_log import LogSource

# POLICY: of what functions write, so much waits for the writer; what is more is counted and dropped, as a log must not
# hold up calls.
BYTES_MAX = 16 * 1024 * 1024

log = structlog.get_logger("sesame.agents")


class Written:
    def __init__(self, link: Callable[[], Link | None]) -> None:
        """`link` gives the way to a writer that takes logs, None while there is none."""
        self._link = link
        self._kept: deque[m.Wrote] = deque()
        self._kept_bytes = self._lost_bytes = 0

    def wrote(self, source: LogSource, request_id: str, data: bytes, more: bool) -> None:
        """As a log sink."""
        link = self._link()
        if (self._kept_bytes if link is None else link.waiting_bytes) > BYTES_MAX:
            self._lost_bytes += len(data)
            return
        if self._lost_bytes:
            log.error("of functions' logs some was lost while the writer was away", bytes=self._lost_bytes)
            self._lost_bytes = 0
        wrote = m.Wrote(source, request_id, data, more)
        if link is None:
            self._kept.append(wrote)
            self._kept_bytes += len(data)
        else:
            link.send(wrote, soon=False)

    def send_kept(self, link: Link) -> None:
        """A writer takes logs again."""
        while self._kept:
            link.send(self._kept.popleft(), soon=False)
        self._kept_bytes = 0
