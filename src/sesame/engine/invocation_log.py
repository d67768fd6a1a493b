"""The log of one invocation: passes every write to the log sink at once, and holds the tail for the caller.

Written by the engine (the platform's lines) and by the sandbox (the function's output).
"""

from collections.abc import Callable

import msgspec

from sesame.model import limits
from sesame.model.invocation import HeldLog

# Trim only when the buffer reaches this size: trimming on every write would cost more than the memory is worth.
_HELD_BYTES_MAX = 16 * limits.LOG_TAIL_BYTES


class LogSource(msgspec.Struct, frozen=True):
    """The origin of a line: fields that are stored with it. `qualifier` is as the caller wrote it."""

    service: str
    function: str
    version_id: str
    instance_id: str
    log_project: str
    logstore: str
    qualifier: str = ""


# (source, request id, data, whether the platform will write more soon)
LogSink = Callable[[LogSource, str, bytes, bool], None]


def drop(_source: LogSource, _request_id: str, _data: bytes, _more: bool) -> None:
    """A log sink that keeps nothing, so that the call's log exists only in its outcome."""


class InvocationLog:
    """Belongs to one call. Holds at most `_HELD_BYTES_MAX` bytes, or twice the size passed to `hold`."""

    __slots__ = ("_cut_bytes", "_held", "_held_bytes_max", "_keep_bytes", "_request_id", "_sink", "_source")

    def __init__(self, source: LogSource, request_id: str, sink: LogSink) -> None:
        self._source = source
        self._request_id = request_id
        self._sink = sink
        self._held = bytearray()
        self._held_bytes_max = _HELD_BYTES_MAX
        self._keep_bytes = limits.LOG_TAIL_BYTES
        self._cut_bytes = 0

    def hold(self, size_bytes: int) -> None:
        """Makes `whole` return the last `size_bytes`. Must be called before the first write."""
        self._keep_bytes, self._held_bytes_max = size_bytes, 2 * size_bytes

    def write(self, data: bytes, *, more: bool = False) -> None:
        self._sink(self._source, self._request_id, data, more)
        held = self._held
        held += data
        if len(held) > self._held_bytes_max:
            self._cut_bytes += len(held) - self._keep_bytes
            del held[: -self._keep_bytes]

    def line(self, text: str, *, more: bool = False) -> None:
        """Writes a line of the platform with the cloud's line ending; `more` announces that more lines follow soon."""
        self.write(f"{text}\r\n".encode(), more=more)

    def ensure_new_line(self) -> None:
        """Ends the function's last line if the function did not."""
        if self._held and not self._held.endswith(b"\n"):
            self.write(b"\n")

    def held_bytes(self) -> int:
        return len(self._held)

    def tail(self) -> bytes:
        """The last `LOG_TAIL_BYTES` that were written."""
        held = self._held
        return bytes(held if len(held) <= limits.LOG_TAIL_BYTES else held[-limits.LOG_TAIL_BYTES :])

    def whole(self) -> HeldLog:
        """Everything written, or the last bytes of it if it exceeds the size passed to `hold`."""
        data = bytes(self._held[-self._keep_bytes :])
        return HeldLog(data, self._cut_bytes + len(self._held) - len(data))
