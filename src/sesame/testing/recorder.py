"""Records every invocation of a test's Sesame with its event, outcome and log; bounded in number and bytes.

Used by `testing.server`; `testing.invocation` decodes the records.
"""

from collections import OrderedDict

import msgspec

from sesame.engine.invocation_log import LogSource
from sesame.model.errors import CallerError
from sesame.model.invocation import Invocation, Outcome

RECORDS_MAX = 10_000
BYTES_MAX = 256 * 1024
_CUT = b"\n[cut at %d bytes]\n" % BYTES_MAX


class Record(msgspec.Struct, omit_defaults=True):
    """One attempt at an invocation, recorded from its first log line on.

    `kind` is invoke, or other for hooks and starts.

    `error` is empty, the reason of the function's failure, or "refused" with a `message` for a call that never ran.
    """

    request_id: str
    service: str
    function: str
    kind: str = "invoke"
    qualifier: str = ""
    event: bytes = b""
    payload: bytes = b""
    error: str = ""
    message: str = ""
    duration_ms: float = 0.0
    cold: bool = False
    attempt: int = 0
    done: bool = False
    log: bytearray = msgspec.field(default_factory=bytearray)


class Recorder:
    """Not thread-safe: belongs to Sesame's event loop."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._latest: OrderedDict[str, Record] = OrderedDict()

    def ended(self, invocation: Invocation, outcome: Outcome | BaseException) -> None:
        """See `engine.interface.Observer`."""
        target = invocation.target
        record = self._latest.get(invocation.request_id)
        if record is None or record.done:
            record = self._add(Record(invocation.request_id, target.service, target.function))
        record.qualifier = target.qualifier
        record.event = _bounded(invocation.event)
        record.attempt = invocation.retry_count + 1
        record.done = True
        if isinstance(outcome, BaseException):
            record.error = "refused" if isinstance(outcome, CallerError) else "ended"
            record.message = str(outcome) or type(outcome).__name__
        else:
            record.payload = _bounded(outcome.payload)
            record.error = "" if outcome.error is None else outcome.error.reason
            record.duration_ms, record.cold = outcome.duration_ms, outcome.cold

    def write(self, source: LogSource, request_id: str, data: bytes, more: bool) -> None:
        """An `engine.invocation_log.LogSink`."""
        record = self._latest.get(request_id)
        begins = _begins_attempt(data)
        if record is None or (record.done and begins):
            kind = "invoke" if begins else "other"
            record = self._add(Record(request_id, source.service, source.function, kind=kind, done=not begins))
        # Appending in place avoids copying earlier lines for each new one.
        space = BYTES_MAX - len(record.log)
        if space >= 0:
            record.log += data if len(data) <= space else data[:space] + _CUT

    def records(self) -> list[Record]:
        return self._records

    def clear(self) -> None:
        self._records = []
        self._latest.clear()

    def _add(self, record: Record) -> Record:
        self._records.append(record)
        self._latest[record.request_id] = record
        if len(self._records) > RECORDS_MAX:
            oldest = self._records.pop(0)
            if self._latest.get(oldest.request_id) is oldest:
                del self._latest[oldest.request_id]
        return record


def _begins_attempt(data: bytes) -> bool:
    """Whether this is the first line of an attempt.

    Output after an attempt's last line still belongs to that attempt.
    """
    return data.startswith((b"FC Initialize Start ", b"FC Invoke Start "))


def _bounded(data: bytes) -> bytes:
    if len(data) <= BYTES_MAX:
        return bytes(data)
    return data[:BYTES_MAX] + _CUT
