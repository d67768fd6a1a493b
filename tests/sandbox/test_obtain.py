"""Interpreters are brought from a channel, from uv's builds and from packed files: verified, whole or not at all."""

import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support import forked
from tests.support.conda_channel import cut_files, make_channel
from tests.support.interpreters import INTERPRETERS

from sesame.model.errors import ConfigurationError
from sesame.sandbox.jail.isolation import probe
from sesame.sandbox.runtimes import interpreters
from sesame.sandbox.runtimes.interpreters import discover
from sesame.sandbox.runtimes.obtain import archive, conda, installed, lock, obtain, uv
from sesame.sandbox.runtimes.obtain.archive import Contents, UnusableArchive
from sesame.sandbox.runtimes.obtain.downloads import DownloadFailed
from sesame.sandbox.runtimes.places import own_interpreters

FOUND = INTERPRETERS
OLD = {"python2.7": ("2.7.15", "h5a48372_1011_cpython"), "python3": ("3.6.15", "hb7a2778_0_cpython")}
on_linux = pytest.mark.skipif(lock.this_platform() != "linux-64", reason="the channel is made for linux-64")

pytestmark = on_linux


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of CPython 2.7 and 3.6, under the builds that the committed lock pins."""
    folder = tmp_path_factory.mktemp("channel")
    return make_channel(folder, *((FOUND[name].path, *pin) for name, pin in OLD.items())).as_uri()


@pytest.fixture(scope="module")
def brought(channel: str) -> Iterator[Path]:
    """A runtimes directory into which the command has brought both; tests leave it as it is.

    Outside of /tmp, over which an instance in a jail mounts its own.
    """
    with tempfile.TemporaryDirectory(prefix="sesame-test-", dir="/var/tmp") as folder:
        done = sesame(Path(folder), "get", "python2.7", "python3", f"--interpreters-channel={channel}")
        assert done.returncode == 0, done.stderr.decode()
        yield Path(folder)


def sesame(root: Path, *arguments: str, event: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """`sesame runtimes …` on a machine that has nothing: no interpreter is on PATH or in a home."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(root / "home"), "SESAME_RUNTIMES_DIR": str(root)}
    return forked.run("runtimes", *arguments, environ=environ, event=event)


def with_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make install` has put uv into .venv; other environments have none beside their Python."""
    monkeypatch.setenv("PATH", f"{forked.REPOSITORY / '.venv/bin'}:{os.environ['PATH']}")


def getter(own: Path, channel: str, committed: Path = lock.COMMITTED) -> conda.CondaInterpreters:
    return conda.CondaInterpreters(own, conda.Source(channel), committed)


def locked(tmp_path: Path, channel: str, change: Callable[[lock.LockedPackage], lock.LockedPackage]) -> Path:
    """A lock with digests of CPython 2.7, changed."""
    [entry] = [each for each in lock.read().entries if (each.runtime, each.platform) == ("python2.7", "linux-64")]
    entry = conda.resolve(entry, channel, tmp_path / "cache")
    entry = msgspec.structs.replace(entry, packages=tuple(map(change, entry.packages)))
    lock.write(lock.Lock(note="", entries=(entry,)), tmp_path / "lock.json")
    return tmp_path / "lock.json"


@pytest.mark.parametrize("runtime", OLD)
def test_what_was_brought_is_found_first_and_runs_functions_in_the_jail(
    brought: Path, tmp_path: Path, runtime: str
) -> None:
    found = discover(own=own_interpreters(brought))[runtime]
    assert found.version.startswith("2.7." if runtime == "python2.7" else "3.6.")
    assert own_interpreters(brought) in found.path.parents
    code = tmp_path / "code"
    code.mkdir()
    code.joinpath("main.py").write_text("import ssl, sys\ndef f(event, context):\n    return sys.prefix\n")
    for folder in (code, *tmp_path.parents):
        if folder.is_relative_to(os.environ.get("TMPDIR", "/tmp")) and folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    sandbox = "jail" if probe().possible else "plain"
    environ = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "SESAME_RUNTIMES_DIR": str(brought)}
    done = forked.run(
        "invoke", "main.f", f"--code={code}", f"--runtime={runtime}", f"--sandbox={sandbox}", environ=environ
    )
    assert done.stdout.decode() == str(found.prefix), done.stderr.decode()


def test_files_that_name_their_place_name_the_right_one(brought: Path) -> None:
    folder = own_interpreters(brought) / "conda/cpython-2.7.15-linux-64"
    assert folder.joinpath("bin/a-tool").read_text() == f"#!{folder}/bin/python2.7\n"
    assert folder.joinpath("share/made-up.txt").read_text() == "made up"


def test_a_second_time_nothing_is_asked_and_nothing_changes(brought: Path) -> None:
    folder = own_interpreters(brought) / "conda/cpython-2.7.15-linux-64"
    before = folder.stat().st_mtime_ns
    said: list[str] = []
    assert getter(own_interpreters(brought), "file:///nowhere").get("python2.7", said.append) == folder
    assert (said, folder.stat().st_mtime_ns) == ([], before)


def test_what_the_channel_named_is_recorded_and_needs_no_index_later(brought: Path, channel: str) -> None:
    """The committed lock has no digests: those of the first time hold from then on."""
    own = own_interpreters(brought)
    entry = lock.read(own / conda.RECORDED).entry("python2.7", "linux-64")
    assert entry is not None
    assert {package.name for package in entry.packages} == {"python", "made-up"}
    assert all(re.fullmatch("[0-9a-f]{64}", package.sha256) for package in entry.packages)
    before = own.with_name("elsewhere")
    shutil.copytree(own / "downloads", before / "downloads")
    shutil.copy(own / conda.RECORDED, before)
    said: list[str] = []
    assert getter(before, "file:///nowhere").get("python2.7", said.append).name == "cpython-2.7.15-linux-64"
    assert not any("recording" in line for line in said)
    shutil.rmtree(before)


def test_an_archive_with_another_digest_is_refused_and_leaves_nothing(channel: str, tmp_path: Path) -> None:
    wrong = locked(tmp_path, channel, lambda package: msgspec.structs.replace(package, sha256="0" * 64))
    with pytest.raises(DownloadFailed, match=r"is not what was expected: its SHA-256 is [0-9a-f]{64}, expected 0000"):
        getter(tmp_path / "own", channel, wrong).get("python2.7", lambda line: None)
    assert [path for path in (tmp_path / "own").rglob("*") if path.is_file()] == []


def test_a_committed_lock_with_digests_needs_no_index(channel: str, tmp_path: Path) -> None:
    full = locked(tmp_path, channel, lambda package: package)
    bare = tmp_path / "bare" / "linux-64"
    bare.mkdir(parents=True)
    for path in Path(channel.removeprefix("file://"), "linux-64").glob("*.bz2"):
        bare.joinpath(path.name).symlink_to(path)
    said: list[str] = []
    folder = getter(tmp_path / "own", bare.parent.as_uri(), full).get("python2.7", said.append)
    assert installed.is_complete(folder)
    assert not any("recording" in line for line in said)


def test_the_lock_command_writes_what_the_channel_has(channel: str, tmp_path: Path) -> None:
    """This channel has one platform only: the others are refused by name."""
    done = sesame(tmp_path, "lock", f"--output={tmp_path / 'lock.json'}", f"--interpreters-channel={channel}")
    assert done.returncode == 1
    assert b"python2.7, linux-64: CPython 2.7.15 h5a48372_1011_cpython, 2 packages" in done.stderr
    assert b"cannot be used" in done.stderr
    assert not (tmp_path / "lock.json").exists()


def test_the_committed_lock_says_which_entries_have_no_digests() -> None:
    known = lock.read()
    assert {(entry.runtime, entry.platform) for entry in known.entries} == {
        (runtime, on) for runtime in OLD for on in lock.PLATFORMS
    }
    if any(not entry.has_digests for entry in known.entries):
        assert "without packages has no digests yet" in known.note
    for entry in known.entries:
        assert all(re.fullmatch("[0-9a-f]{64}", package.sha256) for package in entry.packages)


def test_uvs_builds_are_brought_from_a_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = tmp_path / "python.tar.gz"
    with tarfile.open(build, "w:gz", compresslevel=1) as tar:
        for name, (data, mode) in cut_files(FOUND["python3.12"].path, "3.12.1").items():
            member = tarfile.TarInfo(f"python/{name}")
            member.size, member.mode = len(data), mode
            tar.addfile(member, io.BytesIO(data))
    digest = hashlib.sha256(build.read_bytes()).hexdigest()
    builds = {
        "cpython-3.12.1-linux-x86_64-gnu": {
            "name": "cpython", "arch": {"family": "x86_64", "variant": None}, "os": "linux", "libc": "gnu", "major": 3,
            "minor": 12, "patch": 1, "prerelease": "", "url": build.as_uri(), "sha256": digest, "variant": None,
            "build": "20240101",
        }
    }  # fmt: skip
    (tmp_path / "builds.json").write_text(json.dumps(builds))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(tmp_path / "builds.json"))
    with_uv(monkeypatch)
    own = tmp_path / "own"
    folder = uv.UvInterpreters(own, uv.Source()).get("python3.12", lambda line: None)
    assert installed.read_manifest(folder) == installed.Manifest(
        "python3.12", "3.12.1", installed.machine(), "uv", str(folder)
    )
    monkeypatch.setenv("PATH", "/nowhere")
    assert discover(own=own, wanted=["python3.12"])["python3.12"].path == folder / "bin" / "python3.12"
    monkeypatch.setattr(uv, "find_uv", lambda: pytest.fail("was there already"))
    assert uv.UvInterpreters(own, uv.Source()).get("python3.12", lambda line: None) == folder


def test_without_a_network_it_says_what_was_tried_and_what_else_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_uv(monkeypatch)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    sources = obtain.Sources(channel="http://127.0.0.1:9/channel", mirror="http://127.0.0.1:9/mirror")
    with pytest.raises(ConfigurationError) as failed:
        obtain.Obtainer(tmp_path, sources).get_all(["python3", "python3.12"], lambda line: None)
    said = str(failed.value)
    assert "python3: CPython 3.6 was not brought from http://127.0.0.1:9/channel: " in said
    assert "python3.12: CPython 3.12 was not brought from http://127.0.0.1:9/mirror: " in said
    assert "(--interpreters-channel URL, --interpreters-mirror URL)" in said
    assert "pyenv install 3.6 && pyenv install 3.12" in said
    assert "sesame runtimes pack" in said
    assert "sesame runtimes unpack FILE" in said
    assert not (tmp_path / conda.RECORDED).exists()


def test_what_is_wrong_in_the_command_is_said(tmp_path: Path) -> None:
    for arguments, says in (
        (("get", "python4"), b"there is no runtime 'python4'"),
        (("get", "python3", "--all"), b"name runtimes, or give --all"),
        (("pack",), b"only interpreters that Sesame installed can be packed"),
    ):
        done = sesame(tmp_path, *arguments)
        assert done.returncode in (1, 2)
        assert says in done.stderr


@pytest.fixture(scope="module")
def packed(brought: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file, and the digest that the command printed."""
    file = tmp_path_factory.mktemp("packed") / "old.tar.gz"
    done = sesame(brought, "pack", "python2.7", f"--output={file}")
    assert done.returncode == 0, done.stderr.decode()
    return file, done.stdout.decode().split()[-1]


def test_a_packed_interpreter_runs_at_another_place_without_a_network(packed: tuple[Path, str], tmp_path: Path) -> None:
    file, digest = packed
    before = os.umask(0o077)
    try:
        archive.unpack(file, own_interpreters(tmp_path), lambda line: None, digest)
    finally:
        os.umask(before)
    found = discover(own=own_interpreters(tmp_path))["python2.7"]
    folder = own_interpreters(tmp_path) / "conda/cpython-2.7.15-linux-64"
    assert found.prefix == folder
    assert folder.joinpath("bin/a-tool").read_text() == f"#!{folder}/bin/python2.7\n"
    assert all(path.is_symlink() or path.stat().st_mode & 0o044 == 0o044 for path in folder.rglob("*.*"))
    assert {path.stat().st_mode & 0o055 for path in (folder, folder / "lib", folder / "bin/python2.7")} == {0o055}
    again = sesame(tmp_path, "unpack", str(file))
    assert b"is there already" in again.stderr
    wrong = sesame(tmp_path, "unpack", str(file), f"--sha256={'0' * 64}")
    assert (wrong.returncode, b"was not unpacked" in wrong.stderr) == (1, True)


def small_archive(place: Path, changes: dict[str, object]) -> tuple[Path, dict[str, object]]:
    """An archive with one file and one link, some of it changed, and the list in it."""
    data = b"hello"
    one = {"path": "lib/one", "sha256": hashlib.sha256(data).hexdigest(), "size": 5, "mode": 0o644}
    whole: dict[str, object] = {
        "folder": "conda/cpython-2.7.15-linux-64",
        "machine": installed.machine(),
        "manifest": {
            "runtime": "python2.7", "version": "2.7.15", "platform": "linux-64", "source": "", "prefix": "/before",
        },
        "files": [one, {"path": "lib/two", "link": "one"}],
    }  # fmt: skip
    whole |= changes
    file = place / "small.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        for name, content in (
            (archive.LIST, json.dumps({"format": 1, "interpreters": [whole]}).encode()),
            ("conda/cpython-2.7.15-linux-64/lib/one", data),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file, whole


EMPTY = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"machine": "darwin-arm64"}, "was packed on darwin-arm64; this machine is"),
        ({"folder": "../cpython-2.7.15"}, "which is no interpreter"),
        ({"folder": "/tmp/cpython-2.7.15"}, "which is no interpreter"),
        ({"folder": "conda/cpython-2.7/../.."}, "which is no interpreter"),
        *(
            ({"files": [{"path": path, "sha256": EMPTY}]}, "which an interpreter may not have")
            for path in ("../up", "/etc/passwd", "a/../../up", "", ".", "a\0b", installed.MANIFEST)
        ),
        ({"files": [{"path": "a", "sha256": EMPTY}] * 2}, "which an interpreter may not have"),
        *(
            ({"files": [{"path": "lib/two", "link": link}]}, "outside its interpreter")
            for link in ("/etc/passwd", "../../up", "../..")
        ),
        ({"files": [{"path": "a", "link": "lib"}, {"path": "a/b", "sha256": EMPTY}]}, "below a link"),
        ({"files": [{"path": "lib/one", "sha256": EMPTY, "size": 5}]}, "is not what the archive's list says"),
        ({"files": [{"path": "lib/one", "sha256": EMPTY, "size": 9 * 1024**3}]}, "would unpack to more than"),
        ({"files": [{"path": "lib/none", "sha256": EMPTY}]}, "lacks 1 of its files"),
        ({}, "does not run"),
    ],
)
def test_an_archive_that_is_not_what_it_should_be_leaves_nothing(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    file, _whole = small_archive(tmp_path, changes)
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        archive.unpack(file, tmp_path / "own", lambda line: None)
    assert [path for path in (tmp_path / "own").rglob("*") if path.is_file() or path.is_symlink()] == []
    assert {path.name for path in tmp_path.iterdir()} <= {"small.tar.gz", "own"}


def test_a_damaged_archive_is_refused(packed: tuple[Path, str], tmp_path: Path) -> None:
    whole = packed[0].read_bytes()
    for damaged in (b"", b"no archive", whole[: len(whole) // 2]):
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(UnusableArchive, match=r"damaged, or no archive|no archive of interpreters"):
            archive.unpack(tmp_path / "damaged", tmp_path / "own", lambda line: None)
    assert [path for path in (tmp_path / "own").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"#!/old/bin/python\n/old/lib", b"#!/newer/bin/python\n/newer/lib"),
        (b"\x7fELF\0/old/ssl\0\0\0\0\1", b"\x7fELF\0/newer/ssl\0\0\1"),
        (b"\x03\xf3\r\n/old/lib\0", b"\x03\xf3\r\n/old/lib\0"),
        (b"nothing", b"nothing"),
    ],
)
def test_prefixes_are_moved_in_texts_and_programs_and_nowhere_else(data: bytes, expected: bytes) -> None:
    assert archive.moved(data, b"/old", b"/newer") == expected


def test_a_place_that_does_not_fit_into_a_program_is_refused() -> None:
    with pytest.raises(UnusableArchive, match="too long for this interpreter"):
        archive.moved(b"\x7fELF\0/old/ssl\0\1", b"/old", b"/newer")


def test_the_format_is_checked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "next.tar.gz", "w:gz") as tar:
        data = msgspec.json.encode(Contents(2, ()))
        member = tarfile.TarInfo(archive.LIST)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    with pytest.raises(UnusableArchive, match="has the format 2; this Sesame reads format 1"):
        archive.unpack(tmp_path / "next.tar.gz", tmp_path / "own", lambda line: None)


def test_the_machine_is_named_as_its_kernel_and_processor() -> None:
    assert installed.machine() == f"{sys.platform}-{platform.machine()}"
    assert lock.this_platform() in (*lock.PLATFORMS, "")
    assert set(OLD) == {name for name, minor in interpreters.MINOR_VERSIONS.items() if minor < uv.OLDEST_MINOR}
