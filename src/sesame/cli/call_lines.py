"""Shows calls on a terminal as they end: collected on the event loop, written by a thread of its own.

Given to `app.Sesame` by `sesame start` and `sesame dev` as an observer. A terminal that takes nothing and a flood of
calls hold up no call: what cannot be shown in time is counted, and the count is shown.
"""

import os
import queue
import sys
import threading
from collections.abc import Callable

from sesame.cli import call_text
from sesame.cli.call_text import Call
from sesame.fc.v2016.errors import worded
from sesame.model.clocks import Clocks, Timer
from sesame.model.errors import CallerError
from sesame.model.invocation import Invocation, Outcome

# Calls are written together so often, at most so many at a time: more per second than anybody reads.
FLUSH_EVERY_S = 0.05
CALLS_TOGETHER_MAX = 50
# A failure takes many lines.
END_S = 2.0

Write = Callable[[str], object]


class CallLines:
    """Belongs to one event loop. `open` once, then `close` once; `take` is an `Observer.ended`."""

    def __init__(
        self,
        write: Write,
        clocks: Clocks,
        *,
        colors: bool = False,
        failures_only: bool = False,
    ) -> None:
        """`write` may block: the thread calls it."""
        self._write = write
        self._clocks = clocks
        self._colors = colors
        self._failures_only = failures_only
        self._waiting: list[Call] = []
        self._left_out = 0
        self._failed_left_out = 0
        self._timer: Timer | None = None
        self._batches: queue.SimpleQueue[tuple[list[Call], str] | None] = queue.SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._run, name="sesame call lines", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def take(self, invocation: Invocation, ended: Outcome | BaseException) -> None:
        """Keeps what is to be shown of a call that ended, or counts it."""
        failed = not isinstance(ended, Outcome) or ended.error is not None
        if self._failures_only and not failed:
            return
        if len(self._waiting) >= CALLS_TOGETHER_MAX:
            self._left_out += 1
            self._failed_left_out += failed
            return
        self._waiting.append(call_text.call_of(self._clocks.wall(), invocation, ended, _refusal(ended)))
        if self._timer is None:
            self._timer = self._clocks.call_later(FLUSH_EVERY_S, self._flush)

    def close(self) -> None:
        """Writes what waits, unless the terminal takes nothing."""
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
            # The terminal has not taken the calls before these: they wait, and what comes beyond them is counted.
            self._timer = self._clocks.call_later(FLUSH_EVERY_S, self._flush)

    def _hand_over(self) -> None:
        if not self._waiting:
            return
        missing = ""
        if self._left_out:
            failed = f", {self._failed_left_out} of them failed" if self._failed_left_out else ""
            missing = f"… {self._left_out} more calls not shown{failed} …"
        self._idle.clear()
        self._batches.put((self._waiting, missing))
        self._waiting, self._left_out, self._failed_left_out = [], 0, 0

    def _run(self) -> None:
        """The thread: formats and writes until the end, or until nothing can be written."""
        while (batch := self._batches.get()) is not None:
            calls, missing = batch
            try:
                for call in calls:
                    self._write(call_text.joined(call_text.lines_of(call, colors=self._colors)))
                if missing:
                    self._write(f"{missing}\n")
            except (OSError, ValueError):
                # The terminal is gone or its stream closed. What is shown there is for those who look at it.
                return
            self._idle.set()


def to_stderr(clocks: Clocks, *, failures_only: bool = False) -> CallLines:
    """Writes to stderr; coloured where that is a terminal and the user has not refused colours."""
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return CallLines(_print, clocks, colors=colors, failures_only=failures_only)


def _print(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _refusal(ended: Outcome | BaseException) -> str:
    """The API's code and text of what was refused; "" for anything else."""
    if not isinstance(ended, CallerError):
        return ""
    refusal = worded(ended)
    return f"{refusal.code}: {refusal}"
