"""The log of one invocation: every line goes to the log sink as it comes, and the tail stays for the caller.

Written by the engine (the platform's lines) and by the sandbox (the function's output).
"""

from collections.abc import Callable

import msgspec

from sesame.model import limits

# The buffer is trimmed only when it is this long: trimming it for every line would cost more than the memory does.
_HELD_BYTES_MAX = 16 * limits.LOG_TAIL_BYTES


class LogSource(msgspec.Struct, frozen=True):
    """Where a line comes from: the fields that every kept line carries. `qualifier` is as the caller wrote it."""

    service: str
    function: str
    version_id: str
    instance_id: str
    log_project: str
    logstore: str
    qualifier: str = ""


# Takes the source, the request id, what was written, and whether the platform will soon write more.
LogSink = Callable[[LogSource, str, bytes, bool], None]


class InvocationLog:
    """Belongs to one call; holds at most `_HELD_BYTES_MAX` bytes."""

    __slots__ = ("_held", "_request_id", "_sink", "_source")

    def __init__(self, source: LogSource, request_id: str, sink: LogSink) -> None:
        self._source = source
        self._request_id = request_id
        self._sink = sink
        self._held = bytearray()

    def write(self, data: bytes, *, more: bool = False) -> None:
        self._sink(self._source, self._request_id, data, more)
        held = self._held
        held += data
        if len(held) > _HELD_BYTES_MAX:
            del held[: -limits.LOG_TAIL_BYTES]

    def line(self, text: str, *, more: bool = False) -> None:
        """Writes a line of the platform with the cloud's line ending; `more` says that others follow soon."""
        self.write(b"%b\r\n" % text.encode(), more=more)

    def ensure_new_line(self) -> None:
        """Ends the function's last line if the function did not."""
        if self._held and not self._held.endswith(b"\n"):
            self.write(b"\n")

    def held_bytes(self) -> int:
        return len(self._held)

    def tail(self) -> bytes:
        """The last `LOG_TAIL_BYTES` of what was written."""
        return bytes(self._held[-limits.LOG_TAIL_BYTES :])
