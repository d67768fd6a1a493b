"""Records for how long an event loop did not turn, in a test's own process or in a server's.

As a program, `python tests/support/stalls.py REPORT start …` is `sesame start …` that writes to REPORT what it recorded
between its readiness and its end.
"""

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

BEAT_S = 0.005


class StallRecorder:
    """Since `start`: by how much a beat of the loop came late at most.

    `longest_s` is what the process itself is to blame for, also on a busy machine: the time less that in which the
    loop's thread was ready and had no processor, and at most the processor time that one thread of the process used.
    What a blocked disk costs is in `longest_wall_s` alone, with all that other processes cost.
    """

    def __init__(self) -> None:
        self.longest_s = self.longest_wall_s = 0.0
        self._due = 0.0
        self._thread = threading.get_native_id()
        self._threads = _Threads()
        self._before: dict[int, tuple[float, float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """On the loop that is running, in its thread."""
        self._thread = threading.get_native_id()
        self._beat_later()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _beat_later(self) -> None:
        self._before = self._threads.times()
        self._due = time.perf_counter() + BEAT_S
        self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        late_s = time.perf_counter() - self._due
        if late_s > max(self.longest_s, BEAT_S):
            now = self._threads.times()
            used_s = max(used - self._before.get(thread, (0.0, 0.0))[0] for thread, (used, _delay) in now.items())
            delayed_s = now[self._thread][1] - self._before[self._thread][1]
            self.longest_s = max(self.longest_s, min(late_s - delayed_s, used_s))
        self.longest_wall_s = max(self.longest_wall_s, late_s)
        self._beat_later()


class _Threads:
    """Of this process (Linux). Keeps their files open: it is asked 200 times a second."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}

    def times(self) -> dict[int, tuple[float, float]]:
        """Processor time, and time of waiting for a processor, of each, in seconds."""
        names = os.listdir("/proc/self/task")
        for ended in self._files.keys() - set(names):
            os.close(self._files.pop(ended))
        found = {}
        for name in names:
            try:
                if name not in self._files:
                    self._files[name] = os.open(f"/proc/self/task/{name}/schedstat", os.O_RDONLY)
                used_ns, delay_ns, _slices = os.pread(self._files[name], 100, 0).split()
            except OSError:
                # It has just ended; another that has its number now is opened the next time.
                if (file := self._files.pop(name, None)) is not None:
                    os.close(file)
                continue
            found[int(name)] = (int(used_ns) / 1e9, int(delay_ns) / 1e9)
        return found


def main(report: Path, arguments: list[str]) -> None:
    from sesame.cli import main as cli
    from sesame.cli import start

    recorder, greet = StallRecorder(), start.greet

    def record(*given: object) -> None:
        greet(*given)  # type: ignore[arg-type]
        recorder.start()

    start.greet = record  # type: ignore[assignment]
    sys.argv = ["sesame", *arguments]
    try:
        cli.main()
    finally:
        report.write_text(f"{recorder.longest_s} {recorder.longest_wall_s}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
