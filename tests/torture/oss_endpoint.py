"""Starts OSS endpoints for the kill test: imports once, then forks an endpoint for each line that it reads.

Run as a process by test_oss_kill. It answers each line on its standard input with `<pid> <url>` once it serves.
It ends no endpoint: the test does.
"""

import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from tests.oss.conftest import RunningEndpoint


def serve(root: Path, answers: int) -> None:
    """Until killed."""
    endpoint = RunningEndpoint(root)
    endpoint.__enter__()
    os.write(answers, f"{os.getpid()} {endpoint.url}\n".encode())
    threading.Event().wait()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What the endpoint logs must not stand between the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    for _line in sys.stdin:
        if os.fork() == 0:
            try:
                serve(Path(sys.argv[1]), answers)
            finally:
                # It did not start; what went wrong is told on standard error.
                traceback.print_exc()
                os.write(answers, b"0 failed\n")
                os._exit(1)


if __name__ == "__main__":
    main()
