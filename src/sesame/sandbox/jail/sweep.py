"""Names what a Sesame makes on this machine, and removes what one that is gone has left.

Called by jail.py at start, for what neither death signals nor the watchdog could end.
Never touches what belongs to a Sesame that lives, or to one in another pid namespace, which cannot be seen.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from sesame.sandbox.cgroups.groups import Cgroups
from sesame.sandbox.cgroups.layout import PREFIX, Hierarchies, find

_START_TIME_FIELD = 21


def own_name(tag: str) -> str:
    """`sesame-<pid namespace>-<pid>-<start time>-<tag>`: anybody can see whether its maker lives.

    `tag` tells several drivers of one process apart.
    """
    return f"{PREFIX}{_pid_namespace()}-{os.getpid()}-{_start_time(os.getpid())}-{tag}"


def hierarchies() -> Hierarchies:
    """The control groups of this machine."""
    return find(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())


def sweep(layout: Hierarchies) -> list[str]:
    """Ends and removes every group whose Sesame is gone; returns their names. Blocks."""
    swept = []
    for name, found in abandoned(layout):
        Cgroups(found, name).clear()
        swept.append(name)
    return swept


def abandoned(layout: Hierarchies) -> Iterator[tuple[str, Hierarchies]]:
    """Groups made in this pid namespace by a process that does not exist any more."""
    for name, found in layout.leftovers():
        parts = name.removeprefix(PREFIX).split("-")
        if len(parts) != 4 or parts[0] != _pid_namespace():
            continue
        if _start_time(int(parts[1])) != parts[2]:
            yield name, found


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid").strip("pid:[]")


def _start_time(pid: int) -> str:
    """In ticks since boot; empty when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The second field is the program's name, which may hold anything, blanks and parentheses too.
    return stat.rpartition(")")[2].split()[_START_TIME_FIELD - 2]
