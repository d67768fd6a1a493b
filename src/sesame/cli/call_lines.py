"""Shows calls as they end, and functions' output, on a terminal: collected on the event loop, written by a thread.

`sesame start` and `sesame dev` pass it to `app.Sesame` as an observer. A blocked terminal or a flood of calls never
delays a call: what cannot be shown in time is counted, and the count is shown.
"""

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable

import msgspec

from sesame.cli import call_text, output
from sesame.cli.call_text import Call
from sesame.engine.invocation_log import LogSource
from sesame.fc.wording import worded
from sesame.model.clocks import Clocks, Timer
from sesame.model.errors import CallerError, Exhausted
from sesame.model.invocation import Invocation, Outcome, Target
from sesame.model.owner import label

# How often calls are written, how many at a time, and how many per second in a flood: more than anybody reads.
FLUSH_EVERY_S = 0.05
CALLS_TOGETHER_MAX = 50
CALLS_PER_S = 200
# Shows one call refused at a cap per function and interval, and the number of the others.
REFUSED_EVERY_S = 1.0
# Limits functions' output that waits to be written.
OUTPUT_BYTES_MAX = 256 * 1024
END_S = 2.0
# The platform's lines in a function's log and its error reports: the call's own lines have the same information.
_PLATFORM = (b"FC ", b"Duration: ", b"Cold start: ", b"FunctionCompute ")

Write = Callable[[str], object]


class _Output(msgspec.Struct, frozen=True, gc=False):
    """Output of a function."""

    name: str
    data: bytes


class CallLines:
    """Belongs to one event loop. Call `open` once, then `close` once; `take` and `wrote` implement `Observer`."""

    def __init__(
        self,
        write: Write,
        clocks: Clocks,
        *,
        colors: bool = False,
        failures_only: bool = False,
    ) -> None:
        """`write` may block: only the thread calls it."""
        self._write = write
        self._clocks = clocks
        self._colors = colors
        self._failures_only = failures_only
        self._waiting: list[Call | _Output | str] = []
        self._calls = 0
        # How many more calls may be shown, and the time of that count.
        self._room, self._room_at = float(CALLS_TOGETHER_MAX), clocks.monotonic()
        self._output_bytes = 0
        self._output_left_out = 0
        self._left_out = 0
        self._failed_left_out = 0
        self._timer: Timer | None = None
        # The number of calls refused at a cap since the last one shown, by function.
        self._refused: dict[Target, int] = {}
        self._refused_timer: Timer | None = None
        self._batches: queue.SimpleQueue[list[Call | _Output | str] | None] = queue.SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._run, name="sesame call lines", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def take(self, invocation: Invocation, ended: Outcome | BaseException) -> None:
        """Stores what to show of an ended call, or counts it."""
        failed = not isinstance(ended, Outcome) or ended.error is not None
        if self._failures_only and not failed:
            return
        if isinstance(ended, Exhausted) and self._was_refused(invocation.target):
            return
        # After the first omission, every call until the next flush is omitted.
        if self._left_out or self._calls >= CALLS_TOGETHER_MAX or not self._has_room():
            if not self._left_out:
                self._flush_soon()
            self._left_out += 1
            self._failed_left_out += failed
            return
        self._calls += 1
        self._room -= 1
        self._add(call_text.call_of(self._clocks.wall(), invocation, ended, _refusal(ended)))

    def _has_room(self) -> bool:
        """Whether showing one more call stays within `CALLS_PER_S`."""
        if self._room < 1:
            now = self._clocks.monotonic()
            self._room = min(float(CALLS_TOGETHER_MAX), self._room + (now - self._room_at) * CALLS_PER_S)
            self._room_at = now
        return self._room >= 1

    def _was_refused(self, target: Target) -> bool:
        """Whether a refusal for `target` was shown recently; if so, counts this one. Refusals come in floods."""
        refused = self._refused
        if target in refused:
            refused[target] += 1
            return True
        refused[target] = 0
        if self._refused_timer is None:
            self._refused_timer = self._clocks.call_later(REFUSED_EVERY_S, self._count_refused)
        return False

    def _count_refused(self) -> None:
        self._refused_timer = None
        refused, self._refused = self._refused, {}
        for target, more in refused.items():
            if more:
                self._add(f"… {more} more calls of {output.harmless(call_text.name_of(target))} refused at the cap …")

    def wrote(self, source: LogSource, _request_id: str, data: bytes, _more: bool) -> None:
        """Stores a function's output, or counts its bytes."""
        if data.startswith(_PLATFORM) or (b" [ERROR] {" in data and b"errorMessage" in data):
            return
        if self._output_bytes + len(data) > OUTPUT_BYTES_MAX:
            self._output_left_out += len(data)
            return
        self._output_bytes += len(data)
        self._add(_Output(label(source.service, source.function), bytes(data)))

    def say(self, line: str) -> None:
        """Prints a line of the command itself."""
        self._add(line)

    def failed(self, line: str) -> None:
        self._add(f"{call_text.RED}error:{call_text.RESET} {line}" if self._colors else f"error: {line}")

    def loaded(self, invocation: Invocation, outcome: Outcome) -> None:
        """Shows that a function's handler was loaded for the next call, or why it failed to load."""
        self._add(call_text.loaded_call(self._clocks.wall(), invocation, outcome))

    def _add(self, item: Call | _Output | str) -> None:
        self._waiting.append(item)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._timer is None:
            self._timer = self._clocks.call_later(FLUSH_EVERY_S, self._flush)

    def close(self) -> None:
        """Writes what is waiting, unless the terminal is blocked."""
        if self._refused_timer is not None:
            self._refused_timer.cancel()
            self._count_refused()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._thread.is_alive():
            self._hand_over()
            self._batches.put(None)
            self._thread.join(END_S)

    def _flush(self) -> None:
        self._timer = None
        if self._idle.is_set():
            self._hand_over()
        else:
            # The terminal has not accepted the previous batch: keep these calls, and count those beyond the limit.
            self._timer = self._clocks.call_later(FLUSH_EVERY_S, self._flush)

    def _hand_over(self) -> None:
        if not (self._waiting or self._left_out):
            return
        if self._left_out:
            failed = f", {self._failed_left_out} of them failed" if self._failed_left_out else ""
            self._waiting.append(f"… {self._left_out} more calls not shown{failed} …")
        if self._output_left_out:
            self._waiting.append(f"… {self._output_left_out} bytes that functions wrote are not shown …")
        self._idle.clear()
        self._batches.put(self._waiting)
        self._waiting, self._calls, self._left_out, self._failed_left_out = [], 0, 0, 0
        self._output_bytes, self._output_left_out = 0, 0

    def _run(self) -> None:
        """The thread's loop: formats and writes batches until the end, or until writing fails."""
        while (batch := self._batches.get()) is not None:
            try:
                self._write(call_text.joined(line for item in batch for line in self._lines_of(item)))
            except (OSError, ValueError):
                # The terminal or stream is closed, so nobody would see further output.
                return
            self._idle.set()

    def _lines_of(self, item: Call | _Output | str) -> Iterable[str]:
        if isinstance(item, Call):
            return call_text.lines_of(item, colors=self._colors)
        if isinstance(item, str):
            return [item]
        return call_text.output_lines(item.name, item.data)


def to_stderr(clocks: Clocks, *, failures_only: bool = False) -> CallLines:
    """Writes to stderr, in colour if that is a terminal and NO_COLOR is unset."""
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return CallLines(_print, clocks, colors=colors, failures_only=failures_only)


def _print(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _refusal(ended: Outcome | BaseException) -> str:
    """The API's code and message of a refused call; "" for any other outcome."""
    if not isinstance(ended, CallerError):
        return ""
    refusal = worded(ended)
    return f"{refusal.code}: {refusal}"
