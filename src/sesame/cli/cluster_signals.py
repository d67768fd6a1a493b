"""Ctrl-C and SIGTERM of a command that has something under way on a cluster: asked once to stop, then left.

Used by `sesame start --cluster` and `sesame cluster upgrade`. What is under way on the machines goes on in either case.
"""

import os
import signal
import sys
import threading
from typing import Any

from sesame.cli import output
from sesame.model.exit_codes import EXIT_INTERRUPTED


class Signals:
    """The first one sets `stopped`; another one ends this process."""

    def __init__(self, stops: str, leaves: str) -> None:
        """What is said then; nothing where it is ""."""
        self.stopped = threading.Event()
        self._stops, self._leaves = stops, leaves

    def heed(self) -> None:
        """Ray has its own way with signals until then."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def _stop(self, _number: int, _frame: Any) -> None:
        if not self.stopped.is_set():
            self.stopped.set()
            if self._stops:
                output.note(self._stops)
            return
        output.note(self._leaves)
        sys.stdout.flush()
        sys.stderr.flush()
        # At once: Ray takes an exception that comes while it waits for one of its own.
        os._exit(EXIT_INTERRUPTED)
