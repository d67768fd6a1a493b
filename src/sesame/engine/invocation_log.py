"""The log of one instance, cut into calls: what goes to the log's keeper as it comes, and the tail for the caller.

Fed by `engine.instance` (the platform's lines) and by the sandbox (the function's output).
Never holds more than the tail in memory.
"""

from collections.abc import Callable

import msgspec

from sesame.model import limits

# Trimmed only now and then: a copy for every line would cost more than the memory.
_HELD_BYTES_MAX = 16 * limits.LOG_TAIL_BYTES


class LogSource(msgspec.Struct, frozen=True):
    """Whose log it is; the fields that every kept line carries. `qualifier` is as the caller wrote it."""

    service: str
    function: str
    version_id: str
    instance_id: str
    log_project: str
    logstore: str
    qualifier: str = ""


# Whose log, the call's id, what was written, and whether the platform will soon write more.
LogSink = Callable[[LogSource, str, bytes, bool], None]


class Journal:
    """One call at a time; output between two calls belongs to the one before."""

    def __init__(self, source: LogSource, sink: LogSink) -> None:
        self._source = source
        self._sink = sink
        self._request_id = ""
        self._held = bytearray()

    def begin(self, request_id: str, qualifier: str = "") -> None:
        if qualifier != self._source.qualifier:
            self._source = msgspec.structs.replace(self._source, qualifier=qualifier)
        self._request_id = request_id
        self._held.clear()

    def write(self, data: bytes, *, more: bool = False) -> None:
        self._sink(self._source, self._request_id, data, more)
        held = self._held
        held += data
        if len(held) > _HELD_BYTES_MAX:
            del held[: -limits.LOG_TAIL_BYTES]

    def line(self, text: str, *, more: bool = False) -> None:
        """A line of the platform's own, with the cloud's line ending; `more` says that others will follow."""
        self.write(b"%b\r\n" % text.encode(), more=more)

    def ensure_new_line(self) -> None:
        if self._held and not self._held.endswith(b"\n"):
            self.write(b"\n")

    def tail(self) -> bytes:
        return bytes(self._held[-limits.LOG_TAIL_BYTES :])
