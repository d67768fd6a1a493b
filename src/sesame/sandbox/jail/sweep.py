"""Names the cgroups that a Sesame creates, and removes those that a dead one has left.

Called by `jail.driver` at the start, for what neither parent-death signals nor the watchdog could end.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from sesame.sandbox.cgroups.groups import Cgroups
from sesame.sandbox.cgroups.layout import PREFIX, Hierarchies, find

_START_TIME_FIELD = 21


def own_name(tag: str) -> str:
    """`sesame-<pid namespace>-<pid>-<start time>-<tag>`, from which others can tell whether its owner is alive.

    `tag` distinguishes several drivers of one process.
    """
    return f"{PREFIX}{_pid_namespace()}-{os.getpid()}-{_start_time(os.getpid())}-{tag}"


def hierarchies() -> Hierarchies:
    """The control groups of this machine."""
    return find(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())


def sweep(layout: Hierarchies) -> list[str]:
    """Kills and removes every group whose Sesame has died; returns their names. Blocks."""
    swept = []
    for name, found in abandoned(layout):
        Cgroups(found, name).clear()
        swept.append(name)
    return swept


def abandoned(layout: Hierarchies) -> Iterator[tuple[str, Hierarchies]]:
    """The groups created in this pid namespace by a process that has ended, as far as this user may remove them.

    Groups of another user's Sesame are removed by its own watchdog, or at that user's next start.
    """
    for name, found in layout.leftovers():
        parts = name.removeprefix(PREFIX).split("-")
        if len(parts) != 4 or parts[0] != _pid_namespace():
            continue
        if _start_time(int(parts[1])) != parts[2] and _removable(name, found):
            yield name, found


def _removable(name: str, found: Hierarchies) -> bool:
    places = [place for base in found.bases.values() for place in (base, base / name)]
    return all(os.access(place, os.W_OK | os.X_OK) for place in places)


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid").strip("pid:[]")


def _start_time(pid: int) -> str:
    """The start time of a process in ticks since boot; "" if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The second field is the program's name, which may contain blanks and parentheses.
    return stat.rpartition(")")[2].split()[_START_TIME_FIELD - 2]
