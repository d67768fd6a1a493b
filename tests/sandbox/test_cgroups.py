"""Control groups: found in every arrangement; the same code for version 1, version 2 and a mixture."""

import errno
import os
from pathlib import Path

import pytest
from tests.support.open_files import descriptors, failing

from sesame.sandbox.cgroups import groups as module
from sesame.sandbox.cgroups import layout as cgroups_layout
from sesame.sandbox.cgroups import teardown as cgroups_end
from sesame.sandbox.cgroups.groups import Cgroups, Limits
from sesame.sandbox.cgroups.layout import find
from sesame.sandbox.jail import sweep as jail_sweep

# The files of a group, as kernels show them (6.1, and 4.19 for version 1), with their first contents.
VERSION_2 = {
    "cgroup.procs": "", "cgroup.controllers": "cpu memory pids\n", "cgroup.subtree_control": "", "cgroup.freeze": "0\n",
    "cgroup.kill": "", "cgroup.events": "populated 0\nfrozen 0\n", "memory.max": "max\n", "memory.swap.max": "max\n",
    "memory.peak": "0\n", "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
    "memory.stat": "anon 0\nfile 0\nshmem 0\n", "pids.max": "max\n", "cpu.max": "max 100000\n", "cpu.weight": "100\n",
}  # fmt: skip
VERSION_1 = {
    "memory": {
        "cgroup.procs": "", "tasks": "", "memory.limit_in_bytes": "9223372036854771712\n",
        "memory.memsw.limit_in_bytes": "9223372036854771712\n", "memory.max_usage_in_bytes": "0\n",
        "memory.stat": "cache 0\ntotal_cache 0\ntotal_shmem 0\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
    },
    "pids": {"cgroup.procs": "", "tasks": "", "pids.max": "max\n"},
    "cpu": {"cgroup.procs": "", "tasks": "", "cpu.shares": "1024\n",
            "cpu.cfs_period_us": "100000\n", "cpu.cfs_quota_us": "-1\n"},
    "freezer": {"cgroup.procs": "", "tasks": "", "freezer.state": "THAWED\n"},
    "unified": {"cgroup.procs": "", "cgroup.controllers": "", "cgroup.subtree_control": "",
                "cgroup.freeze": "0\n", "cgroup.kill": ""},
}  # fmt: skip
LIMITS = Limits(memory_bytes=100 << 20, processes=1024, cpu_shares=512, cpu_quota=0.25)


class Tree:
    """A recorded tree: a directory that is made gets the files that a kernel would put into it."""

    def __init__(self, root: Path, kinds: dict[str, dict[str, str]]) -> None:
        self.root = root
        self._kinds = kinds
        for kind, files in kinds.items():
            self._fill(root / kind, files)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        make, remove = Path.mkdir, os.rmdir

        def mkdir(path: Path, *arguments: object, **more: object) -> None:
            if self.root not in path.parents:
                make(path, *arguments, **more)  # type: ignore[arg-type]
            elif not path.exists():
                self._fill(path, self._kinds[path.relative_to(self.root).parts[0]])
            elif not more.get("exist_ok"):
                raise FileExistsError(path)

        def rmdir(path: str) -> None:
            if self.root not in Path(path).parents:
                remove(path)
            elif not os.path.exists(path):
                raise FileNotFoundError(path)
            elif any(entry.is_dir() for entry in os.scandir(path)) or (Path(path) / "cgroup.procs").read_text():
                raise OSError(errno.EBUSY, "busy")
            else:
                for entry in os.scandir(path):
                    os.unlink(entry)
                remove(path)

        patch.setattr(Path, "mkdir", mkdir)
        patch.setattr("sesame.sandbox.cgroups.teardown.os.rmdir", rmdir)

    def mountinfo(self) -> str:
        lines = ["22 1 8:1 / / rw - ext4 /dev/root rw"]
        for kind in self._kinds:
            version, options = ("cgroup2", "rw") if kind == "unified" else ("cgroup", f"rw,{kind}")
            lines.append(f"30 22 0:26 / {self.root / kind} rw,nosuid shared:9 - {version} {version} {options}")
        return "\n".join(lines)

    @staticmethod
    def _fill(directory: Path, files: dict[str, str]) -> None:
        os.makedirs(directory)
        for name, text in files.items():
            (directory / name).write_text(text)


@pytest.fixture
def version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    tree = Tree(tmp_path / "fs", {"unified": VERSION_2})
    tree.install(monkeypatch)
    (tree.root / "unified" / "cgroup.subtree_control").write_text("cpu memory pids\n")
    return tree


@pytest.fixture
def mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    tree = Tree(tmp_path / "fs", VERSION_1)
    tree.install(monkeypatch)
    return tree


@pytest.fixture
def version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    tree = Tree(tmp_path / "fs", {kind: files for kind, files in VERSION_1.items() if kind != "unified"})
    tree.install(monkeypatch)
    return tree


ROOT_MEMBER = "0::/\n1:cpu:/\n2:memory:/\n3:pids:/\n4:freezer:/\n"


def opened(tree: Tree, **more: bool) -> Cgroups:
    groups = Cgroups(find(tree.mountinfo(), ROOT_MEMBER), "sesame-1-2-3-a")
    groups.open(**more)
    return groups


def test_version_2(version_2: Tree) -> None:
    groups = opened(version_2)
    parent = version_2.root / "unified" / "sesame-1-2-3-a"
    assert groups.controllers == {"memory", "pids", "cpu"}
    assert groups.freezer == "cgroup.freeze"
    assert (parent / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    group = groups.make("i1")
    group.limit(LIMITS)
    own = parent / "i1"
    assert (own / "memory.max").read_text() == str(100 << 20)
    assert (own / "memory.swap.max").read_text().startswith("0")
    assert (own / "pids.max").read_text() == "1024"
    assert (own / "cpu.max").read_text() == "25000 100000"
    assert (own / "cpu.weight").read_text().startswith("50")
    assert (os.readlink(f"/proc/self/fd/{group.unified_fd}"), group.task_fds) == (str(own), ())
    (own / "memory.peak").write_text(str(70 << 20))
    (own / "memory.stat").write_text(f"anon 1\nfile {30 << 20}\nshmem {10 << 20}\n")
    assert group.memory_peak_bytes() == 50 << 20
    assert group.memory_bytes() is group.cpu_s() is None
    (own / "memory.current").write_text(str(60 << 20))
    (own / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    assert (group.memory_bytes(), group.cpu_s()) == (40 << 20, 1.5)
    assert group.memory_kills() == 0
    (own / "memory.events").write_text("oom 2\noom_kill 1\n")
    assert group.memory_kills() == 1
    assert group.freeze()
    assert (own / "cgroup.freeze").read_text().startswith("1")
    assert group.dies_while_frozen()
    assert group.thaw()
    assert (own / "cgroup.freeze").read_text().startswith("0")
    group.kill()
    group.remove()
    assert not own.exists()
    groups.clear()
    assert not parent.exists()


def test_version_1_beside_an_empty_version_2(mixture: Tree) -> None:
    groups = opened(mixture)
    assert groups.controllers == {"memory", "pids", "cpu"}
    assert groups.freezer == "cgroup.freeze"
    assert not (mixture.root / "freezer" / "sesame-1-2-3-a").exists()
    group = groups.make("i1")
    group.limit(LIMITS)

    def own(kind: str, file: str) -> str:
        return (mixture.root / kind / "sesame-1-2-3-a" / "i1" / file).read_text()

    assert own("memory", "memory.limit_in_bytes").startswith(str(100 << 20))
    assert own("memory", "memory.memsw.limit_in_bytes").startswith(str(100 << 20))
    assert own("pids", "pids.max") == "1024"
    assert own("cpu", "cpu.shares").startswith("512")
    assert own("cpu", "cpu.cfs_quota_us").startswith("25000")
    in_memory, unified = (mixture.root / kind / "sesame-1-2-3-a" / "i1" for kind in ("memory", "unified"))
    (in_memory / "memory.usage_in_bytes").write_text(str(60 << 20))
    (in_memory / "memory.stat").write_text(f"cache 1\ntotal_cache {30 << 20}\ntotal_shmem {10 << 20}\n")
    (unified / "cpu.stat").write_text("usage_usec 2500000\n")
    assert (group.memory_bytes(), group.cpu_s()) == (40 << 20, 2.5)
    assert len(group.task_fds) == 3
    assert group.unified_fd >= 0
    group.joined()
    assert (group.task_fds, group.unified_fd) == ((), -1)
    group.remove()
    groups.clear()
    assert not list(mixture.root.rglob("sesame-*"))


@pytest.mark.parametrize("opens", range(5))
def test_a_group_that_is_not_opened_leaves_nothing(mixture: Tree, monkeypatch: pytest.MonkeyPatch, opens: int) -> None:
    groups, before = opened(mixture), descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing(os.open, opens))
        with pytest.raises(OSError, match="Too many open files"):
            groups.make("i1")
    assert descriptors() == before
    assert not list(mixture.root.rglob("i1"))


@pytest.mark.parametrize("alone", [True, False])
def test_the_version_1_freezer(alone: bool, request: pytest.FixtureRequest) -> None:
    tree: Tree = request.getfixturevalue("version_1" if alone else "mixture")
    groups = opened(tree, version_1_freezer=not alone)
    assert groups.freezer == "freezer.state"
    group = groups.make("i1")
    state = tree.root / "freezer" / "sesame-1-2-3-a" / "i1" / "freezer.state"
    assert group.freeze()
    assert state.read_text().startswith("FROZEN")
    assert not group.dies_while_frozen()
    assert group.thaw()
    assert state.read_text().startswith("THAWED")
    assert (len(group.task_fds), group.unified_fd) == (4, -1)
    group.joined()


@pytest.mark.parametrize(
    ("kind", "file", "each"), [("version_1", "cpu.shares", 1024), ("version_2", "cpu.weight", 100)]
)
def test_all_functions_together_weigh_as_much_as_a_process_on_each_processor(
    kind: str, file: str, each: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree: Tree = request.getfixturevalue(kind)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    opened(tree)
    base = tree.root / ("cpu" if kind == "version_1" else "unified") / "sesame-1-2-3-a"
    assert int((base / file).read_text()) == 8 * each


def test_a_group_is_made_whole_or_not_at_all(mixture: Tree) -> None:
    groups = opened(mixture)
    (mixture.root / "pids" / "sesame-1-2-3-a" / "i1").mkdir()
    with pytest.raises(FileExistsError):
        groups.make("i1")
    assert not (mixture.root / "memory" / "sesame-1-2-3-a" / "i1").exists()


def test_without_a_writable_hierarchy_no_cgroups_are_used(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "fs", VERSION_1)
    for file in tree.root.rglob("cgroup.procs"):
        file.unlink()
    assert find(tree.mountinfo(), ROOT_MEMBER).bases == {}
    assert find("22 1 8:1 / / rw - ext4 /dev/root rw", ROOT_MEMBER).bases == {}


def test_groups_are_made_where_sesame_itself_is(mixture: Tree) -> None:
    inner = mixture.root / "memory" / "outer" / "inner"
    (mixture.root / "memory" / "outer").mkdir()
    inner.mkdir()
    layout = find(mixture.mountinfo(), "4:memory:/outer/inner\n8:pids:/\n")
    assert layout.bases["memory"] == inner
    assert layout.bases["pids"] == mixture.root / "pids"


def test_a_mount_may_show_a_part_of_the_hierarchy(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "fs", {"unified": VERSION_2})
    mountinfo = tree.mountinfo().replace("0:26 / ", "0:26 /docker/abc ")
    layout = find(mountinfo, "0::/docker/abc\n")
    assert layout.bases["unified"] == tree.root / "unified"


def test_version_2_moves_itself_down_when_it_must(version_2: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group with processes cannot pass controllers on: if they are only Sesame's, they go one level down."""
    base = version_2.root / "unified"
    (base / "cgroup.subtree_control").write_text("")
    (base / "cgroup.procs").write_text(f"{os.getpid()}\n")
    write = Path.write_text

    def write_text(path: Path, text: str) -> int:
        if path == base / "cgroup.subtree_control":
            if not (base / "sesame-host" / "cgroup.procs").exists():
                raise OSError(errno.EBUSY, "busy")
            text = (path.read_text() + f" {text.removeprefix('+')}").strip()
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", write_text)
    layout = find(version_2.mountinfo(), "0::/\n")
    assert set(layout.bases) == {"unified", "memory", "pids", "cpu"}
    assert (base / "sesame-host" / "cgroup.procs").read_text() == str(os.getpid())
    assert (base / "cgroup.subtree_control").read_text() == "memory pids cpu"


def test_version_2_without_permission_is_not_used(version_2: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    base = version_2.root / "unified"
    (base / "cgroup.subtree_control").write_text("")
    (base / "cgroup.procs").write_text(f"1\n{os.getpid()}\n")

    def refuse(path: Path, text: str) -> int:
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert find(version_2.mountinfo(), "0::/\n").bases == {"unified": base}


def test_the_names_of_the_dead_are_told_from_those_of_the_living(mixture: Tree) -> None:
    living = jail_sweep.own_name("a")
    namespace, pid, started, _tag = living.removeprefix("sesame-").split("-")
    dead = f"sesame-{namespace}-{pid}-{int(started) - 1}-a"
    foreign = f"sesame-1{namespace}-{pid}-1-a"
    for kind in ("memory", "unified"):
        for name in (living, dead, foreign, "sesame-host", "sesame-else", "other"):
            (mixture.root / kind / name).mkdir()
    (mixture.root / "memory" / dead / "i7").mkdir()
    layout = find(mixture.mountinfo(), ROOT_MEMBER)
    assert jail_sweep.sweep(layout) == [dead]
    left = {path.name for path in (mixture.root / "memory").iterdir() if path.is_dir()}
    assert left == {living, foreign, "sesame-host", "sesame-else", "other"}


@pytest.mark.parametrize("refused", ["its directory", "the directory above it"])
def test_what_another_users_dead_sesame_left_is_not_swept(
    mixture: Tree, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary user cannot remove what root's left, and starts all the same."""
    namespace, pid, started, _tag = jail_sweep.own_name("a").removeprefix("sesame-").split("-")
    dead = mixture.root / "memory" / f"sesame-{namespace}-{pid}-{int(started) - 1}-a"
    dead.mkdir()
    roots = dead if refused == "its directory" else dead.parent
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != roots and access(path, mode))
    layout = find(mixture.mountinfo(), ROOT_MEMBER)
    assert jail_sweep.sweep(layout) == []
    assert dead.exists()


def test_surviving_processes_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups_end, "KILL_PATIENCE_S", 0.01)
    monkeypatch.setattr(cgroups_end, "REMOVE_PATIENCE_S", 0.01)
    monkeypatch.setattr("sesame.sandbox.cgroups.teardown.os.kill", lambda pid, number: None)
    (tmp_path / "cgroup.procs").write_text("1\n")
    with pytest.raises(TimeoutError, match="survive SIGKILL"):
        cgroups_end.kill([str(tmp_path)])
    with pytest.raises(TimeoutError, match="cannot be removed"):
        cgroups_end.remove([str(tmp_path)])


def test_a_control_file_is_never_created(tmp_path: Path) -> None:
    assert not cgroups_end.write_if_there(str(tmp_path / "memory.max"), "1")
    assert list(tmp_path.iterdir()) == []
    assert module.CPU_PERIOD_US == 100_000
    assert cgroups_layout.PREFIX == "sesame-"
