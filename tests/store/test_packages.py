"""Packages: what is kept, what is refused without a trace, and what survives crashes and collections.

Run by pytest.
Never depends on an interpreter: the compiler is a fake here.
"""

import asyncio
import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.support import zips

from sesame.model import limits
from sesame.model.errors import InvalidArgument
from sesame.model.function import Package
from sesame.store.packages.packages import COLLECT_GRACE_S, Packages


class Recorder:
    """A compiler that writes down what it was asked for, and leaves a file as a compiler does."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Path]] = []
        self.fail_with: BaseException | None = None

    async def __call__(self, runtime: str, code_dir: Path) -> None:
        self.calls.append((runtime, code_dir))
        (code_dir / f"{runtime}.pyc").write_bytes(b"compiled")
        if self.fail_with is not None:
            raise self.fail_with


@pytest.fixture
def compiler() -> Recorder:
    return Recorder()


@pytest.fixture
async def packages(tmp_path: Path, compiler: Recorder) -> Packages:
    packages = Packages(tmp_path / "packages", compiler)
    await packages.open()
    return packages


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


async def test_a_package_is_its_hash_its_checksum_and_its_files(packages: Packages, compiler: Recorder) -> None:
    archive = zips.zip_of(
        {"index.py": "x = 1\n", "bin/tool": b"\x7fELF", "empty/": b"", "./dot//deep/a.txt": "hi"},
        modes={"bin/tool": stat.S_IFREG | 0o4711},
    )
    package = await packages.add(archive, "python3")
    assert package.sha256 == hashlib.sha256(archive).hexdigest()
    assert package.size_bytes == len(archive)
    assert packages.archive(package).read_bytes() == archive
    code = packages.code_dir(package)
    assert (code / "index.py").read_text() == "x = 1\n"
    assert (code / "dot/deep/a.txt").read_text() == "hi"
    assert (code / "empty").is_dir()
    assert [stat.S_IMODE((code / name).stat().st_mode) for name in (".", "bin", "bin/tool", "index.py")] == [
        0o755, 0o755, 0o755, 0o644,
    ]  # fmt: skip
    assert (code / "index.py").stat().st_mtime == 1580702706.0
    assert [runtime for runtime, _ in compiler.calls] == ["python3"]


async def test_checksum_is_crc64_xz_as_unsigned_decimal(packages: Packages) -> None:
    # reference/api.md §2: check value of "123456789"; a zip may have bytes in front, so the value is of all of them.
    from sesame.store.packages.packages import _describe

    assert _describe(b"123456789").checksum == "11051210869376104954"
    archive = zips.zip_of({"a": b"1"})
    assert (await packages.add(archive, "custom")).checksum == _describe(archive).checksum


async def test_the_same_zip_again_is_only_compiled_for_another_runtime(packages: Packages, compiler: Recorder) -> None:
    archive = zips.zip_of({"index.py": "x = 1\n"})
    first = await packages.add(archive, "python3")
    assert await packages.add(archive, "python3") == first
    inode = packages.archive(first).stat().st_ino
    assert await packages.add(archive, "python2.7") == first
    assert packages.archive(first).stat().st_ino == inode
    assert [runtime for runtime, _ in compiler.calls] == ["python3", "python2.7"]
    assert compiler.calls[0][1] != packages.code_dir(first) == compiler.calls[1][1]


async def test_the_same_zip_at_once_is_unpacked_once(packages: Packages, compiler: Recorder) -> None:
    archive = zips.zip_of({"index.py": "x = 1\n"})
    results = await asyncio.gather(*(packages.add(archive, "python3") for _ in range(5)))
    assert len(set(results)) == 1
    assert len(compiler.calls) == 1


def many_entries(count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}", b"")
    return buffer.getvalue()


LINK = {"l": zips.LINK}
BAD = {
    "not a zip": (lambda: b"this is no zip", "not a zip archive"),
    "nothing": (lambda: b"", "not a zip archive"),
    "cut off": (lambda: zips.zip_of({"index.py": b"x" * 1000})[:-30], "not a zip archive"),
    "hole": (lambda: zips.zip_of({"index.py": os.urandom(500)}).replace(b"index.py", b"\xff" * 8, 1), "broken data"),
    "crc": (zips.broken_crc, "Bad CRC"),
    "encrypted": (zips.encrypted, "encrypted"),
    "method": (lambda: zips.with_method(14), "compression method 14"),
    "unknown method": (lambda: zips.with_method(99), "compression method 99"),
    "empty": (lambda: zips.zip_of({}), "without files"),
    "folders only": (lambda: zips.zip_of({"a/": b""}), "without files"),
    "parent": (lambda: zips.zip_of({"../evil.py": b"x"}), r"'\.\./evil\.py': found a path with '\.\.'"),
    "inner parent": (lambda: zips.zip_of({"a/../../evil.py": b"x"}), r"path with '\.\.'"),
    "absolute": (lambda: zips.zip_of({"/etc/evil": b"x"}), "absolute path"),
    "drive": (lambda: zips.zip_of({"C:/evil": b"x"}), "absolute path"),
    "backslash": (lambda: zips.renamed("a/index.py", "a\\index.py"), "backslash"),
    "nul": (lambda: zips.renamed("index.py_x", "index.py\0x"), "NUL"),
    "nameless": (lambda: zips.zip_of({"./.": b"x"}), "without a name"),
    "long part": (lambda: zips.zip_of({"a" * 256: b"x"}), "too long"),
    "long path": (lambda: zips.zip_of({"a/" * 600 + "b": b"x"}), "too long"),
    "twice": (lambda: zips.doubled("index.py"), "two files of this name"),
    "twice in other words": (lambda: zips.zip_of({"a/b": b"1", "a/./b": b"2"}), "two files of this name"),
    "file then folder": (lambda: zips.zip_of({"a": b"1", "a/b": b"2"}), "needs a folder"),
    "folder then file": (lambda: zips.zip_of({"a/b": b"2", "./a": b"1"}), "a folder and a file"),
    "file below a link": (lambda: zips.zip_of({"l": "/tmp", "l/x": b"x"}, modes=LINK), "needs a folder"),
    "absolute link": (lambda: zips.zip_of({"l": "/etc/passwd"}, modes=LINK), "link to '/etc/passwd'"),
    "leaving link": (lambda: zips.zip_of({"d/x": "", "l": "../x"}, modes=LINK), "leaves the package"),
    "link by a detour": (
        lambda: zips.zip_of(
            {"x/y/d": "../..", "l": "x/y/d/../w", "f": b""}, modes={"x/y/d": zips.LINK, "l": zips.LINK}
        ),
        "leaves the package",
    ),
    "endless link": (lambda: zips.zip_of({"l": "l", "f": ""}, modes=LINK), "leads to itself"),
    "empty link": (lambda: zips.zip_of({"l": ""}, modes=LINK), "link to ''"),
    "long link": (lambda: zips.zip_of({"l": "a/" * 2000}, modes=LINK), "link to ''"),
    "binary link": (lambda: zips.zip_of({"l": b"\xff"}, modes=LINK), "not UTF-8"),
    "device": (lambda: zips.zip_of({"d": b""}, modes={"d": stat.S_IFCHR | 0o666}), "a device"),
    "pipe": (lambda: zips.zip_of({"d": b""}, modes={"d": stat.S_IFIFO | 0o666}), "a device"),
    "entries": (lambda: many_entries(limits.CODE_ENTRIES + 1), "too many entries: found 100001"),
    "very many": (lambda: b"PK\x01\x02" * (2 * limits.CODE_ENTRIES + 1), "too many entries"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_what_is_refused_leaves_nothing(packages: Packages, tmp_path: Path, case: str) -> None:
    good = await packages.add(zips.zip_of({"index.py": b"x"}), "python3")
    before = tree(tmp_path)
    make, message = BAD[case]
    with pytest.raises(InvalidArgument, match=message) as refused:
        await packages.add(make(), "python3")
    assert "expected" in str(refused.value)
    assert tree(tmp_path) == before
    assert packages.code_dir(good).is_dir()


async def test_sizes_are_limited_before_and_while_unpacking(
    packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CODE_UNPACKED_BYTES", 100_000)
    before = tree(tmp_path)
    with pytest.raises(InvalidArgument, match="found 100001 bytes"):
        await packages.add(zips.zip_of({"zeros": b"\0" * 100_001}), "python3")
    with pytest.raises(InvalidArgument, match="too large when unpacked"):
        await packages.add(zips.zip_of({f"{n}": b"\0" * 30_000 for n in range(4)}), "python3")
    with pytest.raises(InvalidArgument, match=r"broken data|too large"):
        await packages.add(zips.lying_bomb(10_000_000, 1000), "python3")
    assert await packages.add(zips.zip_of({"zeros": b"\0" * 100_000}), "python3")
    monkeypatch.setattr(limits, "CODE_ZIP_BYTES", 1000)
    with pytest.raises(InvalidArgument, match="expected at most 1000"):
        await packages.add(zips.zip_of({"noise": os.urandom(2000)}), "python3")
    assert len(tree(tmp_path) - before) == 7


async def test_links_inside_the_package_are_kept(packages: Packages) -> None:
    archive = zips.zip_of(
        {"lib/libx.so.1": b"so", "lib/libx.so": "libx.so.1", "top": "lib", "gone": "nowhere"},
        modes={"lib/libx.so": zips.LINK, "top": zips.LINK, "gone": zips.LINK},
    )
    code = packages.code_dir(await packages.add(archive, "python3"))
    assert os.readlink(code / "lib/libx.so") == "libx.so.1"
    assert (code / "top/libx.so").read_bytes() == b"so"
    assert (code / "gone").is_symlink()


async def test_a_compiler_that_breaks_leaves_nothing(packages: Packages, tmp_path: Path, compiler: Recorder) -> None:
    before = tree(tmp_path)
    compiler.fail_with = OSError("no more processes")
    with pytest.raises(OSError, match="no more processes"):
        await packages.add(zips.zip_of({"index.py": b"x"}), "python3")
    assert tree(tmp_path) == before


async def test_a_cancelled_add_leaves_nothing(tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def endless(runtime: str, code_dir: Path) -> None:
        reached.set()
        await asyncio.Event().wait()

    packages = Packages(tmp_path / "p", endless)
    await packages.open()
    before = tree(tmp_path)
    task = asyncio.create_task(packages.add(zips.zip_of({"index.py": b"x"}), "python3"))
    await asyncio.wait_for(reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tree(tmp_path) == before


async def test_leftovers_of_a_crash_are_swept_and_half_compiled_code_is_compiled_again(
    packages: Packages, tmp_path: Path, compiler: Recorder
) -> None:
    package = await packages.add(zips.zip_of({"index.py": b"x"}), "python3")
    root = tmp_path / "packages"
    (root / "staging" / "abc" / "code").mkdir(parents=True)
    (root / "compiling" / f"{package.sha256}.python2.7").touch()
    (root / "compiling" / f"{'0' * 64}.python2.7").touch()
    again = Packages(root, compiler)
    await again.open()
    assert not list((root / "staging").iterdir())
    assert not list((root / "compiling").iterdir())
    assert compiler.calls[-1] == ("python2.7", again.code_dir(package))
    assert again.archive(package).is_file()


async def test_collect_removes_what_nobody_names_and_nobody_just_added(tmp_path: Path, compiler: Recorder) -> None:
    now = [0.0]
    packages = Packages(tmp_path / "p", compiler, clock=lambda: now[0])
    await packages.open()
    kept, dropped = [await packages.add(zips.zip_of({"a": text}), "python3") for text in "12"]
    assert await packages.collect({kept.sha256}) == 0
    now[0] = COLLECT_GRACE_S + 1
    late = await packages.add(zips.zip_of({"a": "3"}), "python3")
    assert await packages.collect({kept.sha256}) == 1
    assert packages.code_dir(kept).is_dir()
    assert packages.code_dir(late).is_dir()
    assert not packages.code_dir(dropped).exists()
    assert await packages.add(zips.zip_of({"a": "2"}), "python3") == dropped
    assert packages.code_dir(dropped).is_dir()


Hint = Callable[[dict[str, bytes | str], str], Awaitable[str]]


@pytest.fixture
async def hint(tmp_path: Path) -> Hint:
    async def compile(runtime: str, code_dir: Path) -> None:
        assert code_dir.name == "code"

    packages = Packages(tmp_path / "packages", compile)
    await packages.open()

    async def of(files: dict[str, bytes | str], handler: str) -> str:
        package: Package = await packages.add(zips.zip_of(files), "custom")
        return packages.hint(package, handler)

    return of


async def test_an_outer_folder_gives_a_hint(hint: Hint) -> None:
    text = await hint({"app/index.py": "", "__MACOSX/._app": ""}, "index.handler")
    assert "module 'index'" in text
    assert "folder 'app'" in text
    assert "zip the content" in text
    assert "pkg.main" in await hint({"app/pkg/main.py": ""}, "pkg.main.handler")


@pytest.mark.parametrize(
    ("files", "handler"),
    [
        ({"index.py": ""}, "index.handler"),
        ({"app/index.py": ""}, "app.index.handler"),
        ({"app/index.py": ""}, "app/index.handler"),
        ({"app/index.py": "", "b.py": ""}, "index.handler"),
        ({"app/other.py": ""}, "index.handler"),
        ({"index/__init__.py": ""}, "index.handler"),
        ({"app/index.py": ""}, "nodot"),
        ({"app/index.py": ""}, ".handler"),
        *(
            ({"app/index.py": ""}, f"{module}.handler")
            for module in (
                "**",
                "**/index",
                "*",
                "[",
                "[!a]",
                "?",
                "a**b",
                "\0",
                "中" * 120,
                "..",
                "/",
                "a//b",
                "\ud800",
            )
        ),
    ],
)
async def test_no_hint_where_it_would_be_wrong(hint: Hint, files: dict[str, bytes | str], handler: str) -> None:
    assert await hint(files, handler) == ""
