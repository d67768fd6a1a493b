"""Tears down control groups: kills every process, frozen or not, and removes the directories.

Used by `cgroups.groups`. As a program it is the watchdog started by `jail.driver`: it waits for its Sesame to die, then
tears everything down. Imports no module of Sesame.
"""

import contextlib
import errno
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator

KILL_PATIENCE_S = 5.0
REMOVE_PATIENCE_S = 5.0
_POLL_S = 0.002


def processes(directories: Iterable[str]) -> set[int]:
    """The pids in a group, given its directories in all hierarchies."""
    found: set[int] = set()
    for directory in directories:
        found.update(int(line) for line in read(f"{directory}/cgroup.procs").split())
    return found


def kill(directories: list[str]) -> None:
    """Kills all processes of the group and waits until they have ended. Raises `TimeoutError`."""
    deadline = time.monotonic() + KILL_PATIENCE_S
    while found := processes(directories):
        if not any(write_if_there(f"{directory}/cgroup.kill", "1") for directory in directories):
            for pid in found:
                # The process ended between the listing and the signal.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        # A version 1 freezer delays even SIGKILL, so thaw the group after sending the signals.
        for directory in directories:
            write_if_there(f"{directory}/freezer.state", "THAWED")
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(found)} survive SIGKILL")
        time.sleep(_POLL_S)


def remove(directories: Iterable[str]) -> None:
    """Removes an empty group, waiting while its last process is exiting. Raises `TimeoutError`."""
    deadline = time.monotonic() + REMOVE_PATIENCE_S
    for directory in directories:
        while not removed(directory):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{directory} cannot be removed")
            time.sleep(_POLL_S)


def end_all(parents: list[str]) -> None:
    """Tears down every group below the parents, one parent per hierarchy, and removes the parents."""
    names = {name for parent in parents for name in _children(parent)}
    groups = [[f"{parent}/{name}" for parent in parents] for name in sorted(names)]
    for group in groups:
        kill(group)
    for group in groups:
        remove(group)
    for parent in parents:
        removed(parent)


def removed(directory: str) -> bool:
    """Removes the directory. Returns False if it is not empty yet."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise
    return True


def write(path: str, text: str) -> None:
    """Writes to a control file; never creates one."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def write_if_there(path: str, text: str) -> bool:
    """Returns False if the file, or its group, does not exist."""
    try:
        write(path, text)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        # The group was removed between opening and writing.
        if error.errno != errno.ENODEV:
            raise
        return False
    return True


def read(path: str) -> str:
    """The file's text; "" if the file does not exist."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _children(parent: str) -> Iterator[str]:
    try:
        with os.scandir(parent) as entries:
            yield from [entry.name for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return


def main(parents: list[str]) -> None:
    """The watchdog: its standard input closes when Sesame ends, for any reason."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        continue
    end_all(parents)


if __name__ == "__main__":
    main(sys.argv[1:])
