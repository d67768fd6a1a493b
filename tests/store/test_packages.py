"""Packages: what is kept, what is refused without a trace, what survives crashes, and what a lease holds.

Run by pytest.
"""

import asyncio
import contextlib
import hashlib
import io
import os
import shutil
import stat
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.support import zips

from sesame.model import limits
from sesame.model.errors import Unusable
from sesame.model.function import Package
from sesame.store.packages.packages import COLLECT_GRACE_S, PackageMissing, Packages
from sesame.store.quarantine import Quarantine

Wanted = list[tuple[str, str]]


@pytest.fixture
def wanted() -> Wanted:
    return []


@pytest.fixture
async def packages(tmp_path: Path, wanted: Wanted) -> Packages:
    packages = Packages(tmp_path / "packages", lambda sha256, runtime: wanted.append((sha256, runtime)))
    await packages.open()
    return packages


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


async def test_a_package_is_its_hash_its_checksum_and_its_files(packages: Packages, wanted: Wanted) -> None:
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
    assert wanted == [(package.sha256, "python3")]


async def test_checksum_is_crc64_xz_as_unsigned_decimal(packages: Packages) -> None:
    # reference/api.md §2: check value of "123456789"; a zip may have bytes in front, so the value is of all of them.
    from sesame.store.packages.packages import _describe

    assert _describe(b"123456789").checksum == "11051210869376104954"
    archive = zips.zip_of({"a": b"1"})
    assert (await packages.add(archive, "custom")).checksum == _describe(archive).checksum


async def test_the_same_zip_again_is_unpacked_once_and_compiled_for_each_runtime(
    packages: Packages, wanted: Wanted
) -> None:
    archive = zips.zip_of({"index.py": "x = 1\n"})
    first = await packages.add(archive, "python3")
    inode = packages.archive(first).stat().st_ino
    assert await packages.add(archive, "python2.7") == first
    assert packages.archive(first).stat().st_ino == inode
    assert wanted == [(first.sha256, "python3"), (first.sha256, "python2.7")]
    packages.folder.compiled(first.sha256, "python3").write_bytes(b"compiled")
    assert await packages.add(archive, "python3") == first
    assert len(wanted) == 2


async def test_the_same_zip_at_once_is_unpacked_once(packages: Packages, tmp_path: Path) -> None:
    archive = zips.zip_of({"index.py": "x = 1\n"})
    results = await asyncio.gather(*(packages.add(archive, "python3") for _ in range(5)))
    assert len(set(results)) == 1
    assert not list((tmp_path / "packages" / "staging").iterdir())


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
    with pytest.raises(Unusable, match=message) as refused:
        await packages.add(make(), "python3")
    assert "expected" in str(refused.value)
    assert tree(tmp_path) == before
    assert packages.code_dir(good).is_dir()


async def test_sizes_are_limited_before_and_while_unpacking(
    packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CODE_UNPACKED_BYTES", 100_000)
    before = tree(tmp_path)
    with pytest.raises(Unusable, match="found 100001 bytes"):
        await packages.add(zips.zip_of({"zeros": b"\0" * 100_001}), "python3")
    with pytest.raises(Unusable, match="too large when unpacked"):
        await packages.add(zips.zip_of({f"{n}": b"\0" * 30_000 for n in range(4)}), "python3")
    with pytest.raises(Unusable, match=r"broken data|too large"):
        await packages.add(zips.lying_bomb(10_000_000, 1000), "python3")
    assert await packages.add(zips.zip_of({"zeros": b"\0" * 100_000}), "python3")
    monkeypatch.setattr(limits, "CODE_ZIP_BYTES", 1000)
    with pytest.raises(Unusable, match="expected at most 1000"):
        await packages.add(zips.zip_of({"noise": os.urandom(2000)}), "python3")
    assert len(tree(tmp_path) - before) == 5


async def test_links_inside_the_package_are_kept(packages: Packages) -> None:
    archive = zips.zip_of(
        {"lib/libx.so.1": b"so", "lib/libx.so": "libx.so.1", "top": "lib", "gone": "nowhere"},
        modes={"lib/libx.so": zips.LINK, "top": zips.LINK, "gone": zips.LINK},
    )
    code = packages.code_dir(await packages.add(archive, "python3"))
    assert os.readlink(code / "lib/libx.so") == "libx.so.1"
    assert (code / "top/libx.so").read_bytes() == b"so"
    assert (code / "gone").is_symlink()


async def test_a_cancelled_add_leaves_nothing_half(packages: Packages, tmp_path: Path) -> None:
    archive = zips.zip_of({f"f{number}.py": "x" * 1000 for number in range(200)})
    for turns in range(0, 40, 4):
        task = asyncio.create_task(packages.add(archive, "python3"))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not list((tmp_path / "packages" / "staging").iterdir())
        for sha256 in packages.folder.all():
            assert len(list(packages.folder.code(sha256).iterdir())) == 200
            packages.folder.remove(sha256)


async def test_leftovers_of_a_crash_are_swept(packages: Packages, tmp_path: Path) -> None:
    package = await packages.add(zips.zip_of({"index.py": b"x"}), "python3")
    root = tmp_path / "packages"
    (root / "staging" / "abc" / "code").mkdir(parents=True)
    (root / "staging" / "file").touch()
    again = Packages(root)
    await again.open()
    assert not list((root / "staging").iterdir())
    assert again.archive(package).is_file()


async def test_foreign_entries_are_set_aside(packages: Packages, tmp_path: Path) -> None:
    root = tmp_path / "packages"
    (root / "notes.txt").write_text("x")
    (root / "folder" / "deep").mkdir(parents=True)
    (root / ("a" * 64)).write_text("a file that is called like a package")
    (root / ("b" * 64)).symlink_to("/etc")
    await Packages(root).open()
    assert [path.name for path in root.iterdir()] == ["staging"]
    assert len(list(Quarantine(tmp_path / "quarantine").entries())) == 4


async def test_code_that_a_former_version_compiled_in_place_is_unpacked_anew(
    packages: Packages, tmp_path: Path
) -> None:
    package = await packages.add(zips.zip_of({"index.py": b"x"}), "python2.7")
    code = packages.code_dir(package)
    (code / "index.pyc").write_bytes(b"compiled")
    packages.compiled(package, "python2.7").touch()
    (tmp_path / "packages" / "compiling").mkdir()
    again = Packages(tmp_path / "packages")
    await again.open()
    assert [path.name for path in code.iterdir()] == ["index.py"]
    assert not again.compiled(package, "python2.7").exists()
    assert again.folder.all() == [package.sha256]


async def test_a_package_is_removed_unless_it_is_leased_or_fresh(tmp_path: Path) -> None:
    now = [0.0]
    packages = Packages(tmp_path / "p", clock=lambda: now[0])
    await packages.open()
    package = await packages.add(zips.zip_of({"a": "1"}), "python3")
    assert packages.refused(set()) == [package.sha256]
    assert not await packages.remove(package.sha256)
    now[0] = COLLECT_GRACE_S + 1
    lease = await packages.lease([package.sha256, package.sha256])
    other = await packages.lease([package.sha256])
    assert lease.code_dirs == (packages.code_dir(package),) * 2
    other.release()
    other.release()
    assert packages.is_leased(package.sha256)
    assert not await packages.remove(package.sha256)
    lease.release()
    assert not packages.is_leased(package.sha256)
    assert await packages.remove(package.sha256)
    assert packages.folder.all() == []
    assert packages.refused(set()) == []
    assert await packages.add(zips.zip_of({"a": "1"}), "python3") == package
    assert packages.code_dir(package).is_dir()
    assert packages.refused({package.sha256}) == []


async def test_a_lease_names_what_is_compiled_and_asks_for_the_rest(packages: Packages, wanted: Wanted) -> None:
    code, layer = [await packages.add(zips.zip_of({"a": text}), "custom") for text in "12"]
    packages.compiled(code, "python3").write_bytes(b"compiled")
    wanted.clear()
    lease = await packages.lease([code.sha256, layer.sha256], "python3")
    assert lease.compiled == (packages.compiled(code, "python3"), packages.compiled(layer, "python3"))
    assert [path.exists() for path in lease.compiled] == [True, False]
    assert wanted == [(layer.sha256, "python3")]


@pytest.mark.parametrize("lost", ["code", "archive.zip"])
async def test_deploying_again_repairs_an_incomplete_package(packages: Packages, lost: str) -> None:
    archive = zips.zip_of({"index.py": b"x"})
    package = await packages.add(archive, "python3")
    part = packages.code_dir(package).with_name(lost)
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    assert packages.hint(package, "index.handler") == ""
    assert await packages.add(archive, "python3") == package
    assert packages.archive(package).read_bytes() == archive
    assert (packages.code_dir(package) / "index.py").read_bytes() == b"x"


async def test_code_that_is_gone_is_unpacked_again_from_its_archive(packages: Packages) -> None:
    package = await packages.add(zips.zip_of({"index.py": b"x"}), "python3")
    shutil.rmtree(packages.code_dir(package))
    leases = await asyncio.gather(*(packages.lease([package.sha256]) for _ in range(3)))
    assert (leases[0].code_dirs[0] / "index.py").read_bytes() == b"x"


@pytest.mark.parametrize("damage", ["gone", "another", "unreadable"])
async def test_code_whose_archive_is_lost_too_is_an_error_with_the_next_step(packages: Packages, damage: str) -> None:
    package = await packages.add(zips.zip_of({"index.py": b"x"}), "python3")
    whole = await packages.add(zips.zip_of({"index.py": b"y"}), "python3")
    shutil.rmtree(packages.code_dir(package))
    archive = packages.archive(package)
    archive.unlink()
    if damage == "another":
        archive.write_bytes(packages.archive(whole).read_bytes())
    elif damage == "unreadable":
        archive.mkdir()
    with pytest.raises(PackageMissing, match=rf"{package.sha256} is gone .* deploy the function or layer again"):
        await packages.lease([whole.sha256, package.sha256])
    assert not packages.is_leased(package.sha256)
    assert not packages.is_leased(whole.sha256)
    assert (await packages.lease([whole.sha256])).code_dirs[0].is_dir()


async def test_packages_that_the_catalog_does_not_know_are_set_aside_and_come_back(
    packages: Packages, tmp_path: Path
) -> None:
    live, released, stranger = [await packages.add(zips.zip_of({"a": text}), "python3") for text in "123"]
    again = Packages(tmp_path / "packages")
    await again.open()
    assert await again.reconcile({live.sha256}, {released.sha256}) == 1
    assert set(again.folder.all()) == {live.sha256, released.sha256}
    assert await again.reconcile({live.sha256, stranger.sha256}, {released.sha256}) == 0
    assert (again.code_dir(stranger) / "a").read_text() == "3"
    assert await again.reconcile({live.sha256}, {released.sha256}) == 1
    assert (await again.lease([stranger.sha256])).code_dirs[0].is_dir()


Hint = Callable[[dict[str, bytes | str], str], Awaitable[str]]


@pytest.fixture
async def hint(tmp_path: Path) -> Hint:
    packages = Packages(tmp_path / "packages")
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
