"""Finds the control groups of this machine, and where Sesame may create its own: version 1, version 2 or both.

Used by `jail.isolation` and `jail.driver` at the start, and by `jail.sweep` to find what an earlier Sesame left behind.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

PREFIX = "sesame-"
# The controllers that Sesame wants, the most important first.
CONTROLLERS = ("memory", "pids", "cpu")
HOST_GROUP = "sesame-host"
_MAX_DEPTH = 6


class Mount(msgspec.Struct, frozen=True):
    """One mounted hierarchy. `controllers` is empty for version 2, where files in the directories list them."""

    point: Path
    root: str
    version: int
    controllers: frozenset[str]


class Hierarchies:
    """The directories below which groups are created: `memory`, `pids`, `cpu`, `freezer` and `unified` (version 2)."""

    def __init__(self, bases: Mapping[str, Path], mounts: Iterable[Mount]) -> None:
        self.bases = dict(bases)
        self._mounts = tuple(mounts)

    def delegate(self, parents: Iterable[Path]) -> None:
        """Enables the controllers for groups below the version 2 parent."""
        for parent in parents:
            control = parent / "cgroup.subtree_control"
            if control.exists():
                wanted = [name for name in CONTROLLERS if self.bases.get(name) == self.bases.get("unified")]
                if wanted:
                    control.write_text(" ".join(f"+{name}" for name in wanted))

    def leftovers(self) -> Iterator[tuple[str, "Hierarchies"]]:
        """The name of every `sesame-…` group of any Sesame, with hierarchies whose bases contain it."""
        found: dict[str, dict[str, Path]] = {}
        for mount in self._mounts:
            kinds = sorted(mount.controllers) if mount.version == 1 else ["unified"]
            for path in _named(mount.point):
                for kind in kinds:
                    found.setdefault(path.name, {})[kind] = path.parent
        for name, bases in found.items():
            yield name, Hierarchies(bases, self._mounts)


def find(mountinfo: str, membership: str) -> Hierarchies:
    """Parses the texts of /proc/self/mountinfo and /proc/self/cgroup. Returns only bases that are writable."""
    mounts = list(_mounts(mountinfo))
    own = dict(_membership(membership))
    bases: dict[str, Path] = {}
    for mount in mounts:
        if mount.version == 1:
            for controller in mount.controllers & {*CONTROLLERS, "freezer"}:
                base = _below(mount, own.get(controller, "/"))
                if _writable(base):
                    bases[controller] = base
    for mount in mounts:
        if mount.version == 2:
            missing = [name for name in CONTROLLERS if name not in bases]
            chosen = _version_2_base(mount, own.get("", "/"), missing)
            if chosen is not None:
                base, provided = chosen
                bases["unified"] = base
                bases.update(dict.fromkeys(provided, base))
    return Hierarchies(bases, mounts)


def _mounts(mountinfo: str) -> Iterator[Mount]:
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        _, _, _, root, point, *_ = fields.split(" ")
        if kind == "cgroup":
            yield Mount(Path(point), root, 1, frozenset(options.split(",")) & {*CONTROLLERS, "freezer"})
        elif kind == "cgroup2":
            yield Mount(Path(point), root, 2, frozenset())


def _membership(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _below(mount: Mount, own: str) -> Path:
    """The path of the group `own` under this mount, which may show only a part of the hierarchy."""
    relative = os.path.relpath(own, mount.root)
    return mount.point if relative.startswith("..") else mount.point / relative


def _version_2_base(mount: Mount, own: str, wanted: list[str]) -> tuple[Path, list[str]] | None:
    """The nearest group, from Sesame's own upwards, whose children can have most of the wanted controllers."""
    best: tuple[Path, list[str]] | None = None
    candidate = _below(mount, own)
    while True:
        if _writable(candidate):
            provided = _provided(candidate, wanted)
            if best is None or len(provided) > len(best[1]):
                best = (candidate, provided)
            if len(provided) == len(wanted):
                break
        if candidate == mount.point or mount.point not in candidate.parents:
            break
        candidate = candidate.parent
    return best


def _provided(base: Path, wanted: list[str]) -> list[str]:
    """Which controllers the children of `base` have or can be given."""
    available = _words(base / "cgroup.controllers")
    enabled = _words(base / "cgroup.subtree_control")
    for name in wanted:
        if name in available and name not in enabled and _enable(base, name):
            enabled.add(name)
    return [name for name in wanted if name in enabled]


def _enable(base: Path, controller: str) -> bool:
    for attempt in range(2):
        try:
            (base / "cgroup.subtree_control").write_text(f"+{controller}")
            return True
        except OSError as error:
            # A group with processes cannot enable controllers for its children. If they are ours, move them one level
            # down.
            if error.errno != errno.EBUSY or attempt or not _step_down(base):
                return False
    return False


def _step_down(base: Path) -> bool:
    own = {str(os.getpid())}
    try:
        if _words(base / "cgroup.procs") != own:
            return False
        (base / HOST_GROUP).mkdir(exist_ok=True)
        (base / HOST_GROUP / "cgroup.procs").write_text(own.pop())
    except OSError:
        return False
    return True


def _writable(directory: Path) -> bool:
    return os.access(directory, os.W_OK | os.X_OK) and os.access(directory / "cgroup.procs", os.W_OK)


def _words(path: Path) -> set[str]:
    try:
        return set(path.read_text().split())
    except OSError:
        return set()


def _named(point: Path) -> Iterator[Path]:
    for parent, directories, _files in os.walk(point):
        depth = len(Path(parent).relative_to(point).parts)
        for name in list(directories):
            if name.startswith(PREFIX) and name != HOST_GROUP:
                directories.remove(name)
                yield Path(parent) / name
        if depth >= _MAX_DEPTH:
            directories.clear()
