"""Ctrl-C and SIGTERM in a command that has started work on a cluster: the first asks it to stop, the second leaves it.

Used by `sesame start --cluster` and `sesame cluster upgrade`. Work on the machines continues in either case.
"""

import os
import signal
import sys
import threading
from typing import Any

from sesame.cli import output
from sesame.model.exit_codes import EXIT_INTERRUPTED


class Signals:
    """The first signal sets `stopped`; the second ends this process."""

    def __init__(self, stops: str, leaves: str) -> None:
        """`stops` and `leaves` are the messages for the first and second signal; "" prints none."""
        self.stopped = threading.Event()
        self._stops, self._leaves = stops, leaves

    def heed(self) -> None:
        """Installs the handlers; call it after connecting to Ray, which installs its own."""
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
        # Exits immediately: Ray catches exceptions raised while it waits.
        os._exit(EXIT_INTERRUPTED)
