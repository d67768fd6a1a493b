"""A command that goes on until it is ended, as a real process, and what it shows meanwhile."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.pauses import Pauses

PATIENCE_S = 120.0


class RunningCommand:
    """Ended with its block, if not before. What it shows and caches lies below `scratch`."""

    def __init__(self, scratch: Path, *arguments: str) -> None:
        """`arguments` are those of Python."""
        self._shown = scratch / "shown"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SESAME_")}
        with self._shown.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=out, stderr=out, env={**environ, "XDG_CACHE_HOME": str(scratch / "cache")},
            )  # fmt: skip

    @property
    def text(self) -> str:
        """All that it has shown."""
        return self._shown.read_text(errors="replace")

    def wait_for(self, words: str) -> str:
        """All that it has shown, once these words are in it."""
        deadline, pauses = time.monotonic() + PATIENCE_S, Pauses(0.02)
        while words not in (text := self.text):
            assert self.process.poll() is None, text
            assert time.monotonic() < deadline, f"'{words}' was not shown:\n{text}"
            pauses.block()
        return text

    def ends_well(self, number: int) -> None:
        """Sends this signal, and fails unless the command then ends with 0."""
        self.process.send_signal(number)
        assert self.process.wait(PATIENCE_S) == 0, self.text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
