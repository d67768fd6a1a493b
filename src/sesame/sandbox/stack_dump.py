"""Converts the output of the interpreter's fault handler for a hung function to the layout of the function's log.

Used by the drivers if a function is in C code and holds the interpreter's lock when it times out. No Python code can
run then, but the handler, which is C, answers a signal (runtime/python/watchdog.py).
"""

import asyncio
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

from sesame.sandbox.interface import OnOutput

# The signal to which the shim listens. The shim reserves this number; user code only gets lower ones.
DUMP_SIGNAL = signal.SIGRTMAX - 1 if hasattr(signal, "SIGRTMAX") else signal.SIGTERM
# The shim is asked first; if it does not end in time, its fault handler is.
ASK_SHIM_S = 0.15
ASK_HANDLER_S = 0.25
# How much longer to wait on a busy machine once the first part of the stacks has arrived.
FINISH_S = 0.3
# A crowd of processes takes some tenths of a second to end, out of the one second that a timed-out call has.
ASK_HANDLER_OF_CROWD_S = 0.1

# More output than this cannot be a stack: the excess is passed on unchanged.
_HELD_BYTES_MAX = 1024 * 1024

_THREAD = re.compile(rb"(?:Current thread|Thread) 0x([0-9a-f]+).*\(most recent call first\):$")
_FRAME = re.compile(rb'  File "(.*)", line (\d+|\?\?\?) in (.*)$')


class HeldOutput:
    """Passes an instance's output to its listener, and holds it back while the fault handler writes."""

    def __init__(self, on_output: OnOutput) -> None:
        self._on_output = on_output
        self._held: bytearray | None = None
        self._last = b"\n"

    def __call__(self, data: bytes) -> None:
        self._last = data
        if self._held is None or len(self._held) > _HELD_BYTES_MAX:
            self._on_output(data)
        else:
            self._held += data

    def hold(self) -> None:
        self._held = bytearray()

    async def answered(self, gone: asyncio.Event, *, crowd: bool = False) -> None:
        """Waits until the process asked for its stacks has ended, or evidently will not.

        `crowd` means that it was one of many processes.
        """
        if crowd:
            await within(ASK_HANDLER_OF_CROWD_S, gone)
        elif not await within(ASK_HANDLER_S, gone) and self._held:
            await within(FINISH_S, gone)

    def line(self, text: str) -> None:
        """Writes a line of the platform after the function's output."""
        gap = b"" if self._last.endswith(b"\n") else b"\n"
        self(gap + text.encode() + b"\n")

    def release(self, request_id: str, shim: str, shown: tuple[str, str] = ("", "")) -> None:
        """Passes on the held output, converted by `in_log_layout`. Does nothing if none was held."""
        held, self._held = self._held, None
        if held is not None:
            self._on_output(in_log_layout(bytes(held), request_id, shim, shown))


async def within(limit_s: float, event: asyncio.Event) -> bool:
    """Whether the event is set in time."""
    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def in_log_layout(written: bytes, request_id: str, shim: str, shown: tuple[str, str] = ("", "")) -> bytes:
    """Formats the stacks in `written` as ERROR records, innermost frame last, without the shim's own frames.

    `shim` is the shim's directory as the process sees it. Paths below `shown[0]` are printed below `shown[1]`. Other
    text is unchanged; if there is no stack, a line states that.
    """
    at = datetime.now(UTC)
    head = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z {request_id} [ERROR] ".encode()
    other: list[bytes] = []
    threads: list[tuple[int, list[bytes]]] = []
    for line in written.splitlines(keepends=True):
        text = line.rstrip(b"\r\n")
        if thread := _THREAD.match(text):
            threads.append((int(thread[1], 16), []))
        elif (frame := _FRAME.match(text)) and threads:
            if not frame[1].startswith(shim.encode()):
                threads[-1][1].append(_frame(frame, shown))
        elif not (threads and text in (b"", b"  ...")):
            other.append(line)
    stacks = [(ident, frames) for ident, frames in threads if frames]
    if b"[ERROR] request id = " in written:
        # This is Python 2, whose handler is Python code, which could run after all.
        return written
    if not stacks:
        return b"".join(other) + b"[sesame] the stacks of the function could not be had: it did not answer\n"
    return b"".join([*other, *_records(head, request_id.encode(), stacks)])


def _frame(found: "re.Match[bytes]", shown: tuple[str, str]) -> bytes:
    path = found[1]
    real, address = (text.encode() for text in shown)
    if real and path.startswith(real):
        path = address + path[len(real) :]
    return b'  File "%b", line %b, in %b' % (path, found[2], found[3])


def _records(head: bytes, request_id: bytes, threads: list[tuple[int, list[bytes]]]) -> Iterator[bytes]:
    yield head + b"Dumping stack trace after function timeout\n"
    for ident, frames in sorted(threads):
        yield head + b"request id = %b, thread id = %d\n" % (request_id, ident)
        yield head + b"\n".join(reversed(frames)) + b"\n"
