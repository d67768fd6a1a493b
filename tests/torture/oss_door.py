"""Starts an OSS door again and again for the kill test: imports once, then forks a door for each line it reads.

Run as a process by test_oss_kill. For each line on its standard input it answers `<pid> <url>` once the door serves.
Never ends a door itself: that is what the test is about.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from tests.oss.conftest import RunningDoor


def serve(root: Path, answers: int) -> None:
    """Until killed."""
    door = RunningDoor(root)
    door.__enter__()
    os.write(answers, f"{os.getpid()} {door.url}\n".encode())
    threading.Event().wait()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What the door logs must not stand between the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    for _line in sys.stdin:
        if os.fork() == 0:
            serve(Path(sys.argv[1]), answers)


if __name__ == "__main__":
    main()
