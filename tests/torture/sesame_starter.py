"""Starts Sesames for the kill tests: imports everything once, then forks a `sesame start` for each line that it reads.

Run as a process by `tests.torture.forked_sesame`. A line is the arguments of `sesame` as JSON; the answer is a pid.
It ends no Sesame: the test does.
"""

import json
import os
import signal
import sys
from typing import NoReturn

import sesame.app
import sesame.cli.start  # noqa: F401 - imported here, so that the forks need not
from sesame.cli.main import main as cli


def run(arguments: list[str]) -> NoReturn:
    os.setsid()
    # A server's own children must be waited for by it.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(2, 1)
    sys.argv = ["sesame", *arguments]
    sys.exit(cli())


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    answers = os.dup(1)
    os.set_inheritable(answers, False)
    # Not by `sys.stdin`, whose buffer the forks would share.
    for line in iter(lambda: _line(0), b""):
        pid = os.fork()
        if pid == 0:
            os.close(0)
            os.close(answers)
            os.open(os.devnull, os.O_RDONLY)
            run(json.loads(line))
        os.write(answers, b"%d\n" % pid)


def _line(descriptor: int) -> bytes:
    line = b""
    while (part := os.read(descriptor, 1)) and part != b"\n":
        line += part
    return line


if __name__ == "__main__":
    main()
