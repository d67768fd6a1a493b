"""Keeps a node of Sesame running as a process on this machine: starts it, restarts it when it ends, drains it.

Used by a machine's actor, in threads; independent of Ray. The node's process ends with this one (`on_ray.lifeline`).
"""

import collections
import contextlib
import enum
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sesame.model.exit_codes import EXIT_SIGNALLED
from sesame.on_ray.lifeline import ASKS_TO_END
from sesame.on_ray.policies import RAN_S, backoff_s

# How many of the last lines of the process's stderr are kept to tell why it ended.
LINES_KEPT = 20
# How long to read the rest of stderr after the process has ended: a child may still have it open.
REST_S = 1.0


class State(enum.StrEnum):
    RUNNING = "running"
    # Not running; it is started again after a pause.
    WAITING = "waiting"
    STOPPING = "stopping"
    STOPPED = "stopped"


LEGAL: dict[State, frozenset[State]] = {
    State.RUNNING: frozenset({State.WAITING, State.STOPPING}),
    State.WAITING: frozenset({State.RUNNING, State.STOPPED}),
    State.STOPPING: frozenset({State.STOPPED}),
    State.STOPPED: frozenset(),
}


class NodeProcess:
    """Starts the process on creation, with exactly the given `environment`. Thread-safe.

    `tells` are JSON files that the process writes; those of a previous process are removed before each start.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], tells: Sequence[Path] = ()) -> None:
        self._command = command
        self._environment = environment
        self._tells = tells
        self._state = State.WAITING
        self._changed = threading.Condition()
        self._asked = False
        self._asks = -1
        self._lines: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
        self._how = ""
        self._starts = 0
        # A daemon, so that it holds up no process that ends: the process goes with it.
        threading.Thread(target=self._keep, name="node", daemon=True).start()

    def seen(self) -> tuple[State, int, str]:
        """The state, the number of starts, and how the process last ended, with its last lines unless it runs again."""
        with self._changed:
            said = "\n".join((self._how, *self._lines)) if self._how and self._state is not State.RUNNING else self._how
            return self._state, self._starts, said

    def told(self, path: Path) -> dict[str, Any]:
        """The current content of one of its JSON files; empty while the process does not run."""
        with self._changed:
            if self._state is not State.RUNNING:
                return {}
            try:
                told = json.loads(path.read_bytes())
            except (OSError, ValueError, RecursionError):
                return {}
            return told if isinstance(told, dict) else {}

    def stop(self, within_s: float) -> bool:
        """Asks the process to end gracefully and waits. False if it still runs after `within_s` seconds. Idempotent."""
        with self._changed:
            self._asked = True
            if self._state is State.RUNNING:
                self._move(State.STOPPING)
                # After `kill` there is no pipe; if the process has just ended, the pipe has no reader.
                if self._asks >= 0:
                    with contextlib.suppress(BrokenPipeError):
                        os.write(self._asks, ASKS_TO_END)
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._state is State.STOPPED, within_s)

    def kill(self) -> None:
        """Kills the process at once; it is not started again."""
        with self._changed:
            self._asked = True
            if self._asks >= 0:
                os.close(self._asks)
                self._asks = -1
            self._changed.notify_all()

    def _keep(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            if not self._run():
                return
            failures = failures + 1 if time.monotonic() - began < RAN_S else 0
            with self._changed:
                self._changed.wait_for(lambda: self._asked, backoff_s(max(failures, 1)))

    def _run(self) -> bool:
        """Runs the process once. Returns False if it shall not run any more."""
        with self._changed:
            if self._asked:
                if self._state is not State.STOPPED:
                    self._move(State.STOPPED)
                return False
            self._lines.clear()
            self._starts += 1
            try:
                process = self._started()
            except OSError as error:
                # For example for want of memory, or if this user may not write to the data directory.
                self._how = f"could not be started: {error}"
                return True
            self._move(State.RUNNING)
        reading = threading.Thread(target=self._read, args=(process,), name="node-stderr", daemon=True)
        reading.start()
        code = process.wait()
        reading.join(REST_S)
        with self._changed:
            if self._asks >= 0:
                os.close(self._asks)
                self._asks = -1
            self._how = _how(code)
            self._move(State.STOPPED if self._state is State.STOPPING else State.WAITING)
        return True

    def _started(self) -> "subprocess.Popen[bytes]":
        """Raises `OSError`."""
        for each in self._tells:
            each.unlink(missing_ok=True)
        pipe, asks = os.pipe()
        lifeline = [sys.executable, "-m", "sesame.on_ray.lifeline", str(pipe), *self._command]
        try:
            process = subprocess.Popen(
                lifeline, pass_fds=[pipe], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self._environment
            )
        except OSError:
            os.close(asks)
            raise
        finally:
            os.close(pipe)
        self._asks = asks
        return process

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        """Copies its stderr to this process's, which Ray keeps in the actor's log."""
        assert process.stderr is not None
        for line in process.stderr:
            text = line.decode(errors="replace")
            sys.stderr.write(text)
            sys.stderr.flush()
            with self._changed:
                self._lines.append(text.rstrip("\n"))

    def _move(self, state: State) -> None:
        assert state in LEGAL[self._state], f"{self._state} → {state}"
        self._state = state
        self._changed.notify_all()


def _how(code: int) -> str:
    if code > EXIT_SIGNALLED:
        return f"ended by signal {code - EXIT_SIGNALLED}"
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
