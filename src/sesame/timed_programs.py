"""Runs other programs for so long at most: what they have started ends with them.

Used wherever a program might not end. `subprocess.run` kills the program alone, and then waits for what that has
started, which may hold the pipes for ever.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

# What was killed is gone by then, unless it took itself out of the group.
_ENDS_S = 1.0


def run(
    command: Sequence[str | os.PathLike[str]], within_s: float, *, env: Mapping[str, str] | None = None,
    merged: bool = False,
) -> "subprocess.CompletedProcess[str]":  # fmt: skip
    """How it ends without input, and what it says; with its errors among it if `merged`.

    It leads a process group of its own, which is killed where this is left before its end. Raises `OSError`, and
    `subprocess.TimeoutExpired` where it, or who holds its pipes, has not ended after `within_s`.
    """
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE, text=True, errors="replace", env=env, process_group=0,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=within_s)
        except BaseException:
            # The program is not reaped by then, so that its number is nobody else's.
            kill_group(process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_ENDS_S)
            raise
    return subprocess.CompletedProcess(list(command), process.returncode, out, err or "")


def kill_group(leader: int) -> None:
    """All that is left of the process group of a `leader` that is not reaped yet. Idempotent."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
