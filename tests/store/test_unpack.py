"""Whatever bytes arrive: they unpack inside their folder, or are refused in the caller's words.

Run by pytest.
Never looks at what a well-made package becomes: the tests of packages do.
"""

import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import zips
from tests.support.examples import examples

from sesame.model.errors import Unusable
from sesame.store.packages.unpack import unpack

GOOD = zips.zip_of(
    {"index.py": "print('hello')\n" * 50, "bin/tool": "x", "lib/": "", "link": "index.py"},
    modes={"bin/tool": stat.S_IFREG | 0o755, "link": zips.LINK},
)
NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", "", "A", "c:", "\\", "é", "\0", " "]), min_size=1, max_size=4)
MODES = st.sampled_from([0, stat.S_IFREG | 0o644, stat.S_IFREG | 0o755, stat.S_IFDIR | 0o700, zips.LINK, stat.S_IFIFO])


def try_to_unpack(archive: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        destination = Path(folder, "in", "code")
        destination.mkdir(parents=True)
        refusal = refusal_of(archive, destination)
        assert refusal is None or "expected" in refusal
        root = destination.resolve()
        for path in destination.rglob("*"):
            # After a refusal the folder is thrown away; links that would lead out were not followed until then.
            assert refusal is not None or path.resolve().is_relative_to(root)
            assert path.is_symlink() or path.is_file() or path.is_dir()
        assert [path.name for path in Path(folder).iterdir()] == ["in"]
        assert [path.name for path in Path(folder, "in").iterdir()] == ["code"]


def refusal_of(archive: bytes, destination: Path) -> str | None:
    try:
        unpack(archive, destination)
    except Unusable as error:
        return str(error)
    return None


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_archives(damages: list[tuple[int, int]]) -> None:
    archive = bytearray(GOOD)
    for place, value in damages:
        archive[place] = value
    try_to_unpack(bytes(archive))


@settings(max_examples=examples(20), deadline=None)
@given(st.integers(0, len(GOOD)), st.binary(max_size=50))
def test_cut_and_continued_archives(end: int, rest: bytes) -> None:
    try_to_unpack(GOOD[:end] + rest)


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.tuples(NAMES, MODES, NAMES), min_size=1, max_size=5))
def test_wild_names_and_links(entries: list[tuple[list[str], int, list[str]]]) -> None:
    files = {"/".join(name): "/".join(target) for name, _, target in entries}
    modes = {"/".join(name): mode for name, mode, _ in entries}
    try_to_unpack(zips.zip_of(dict(files), modes=modes))


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("数据.txt".encode(), "数据.txt"),
        ("目录/数据.txt".encode("gbk"), "目录/数据.txt"),
        # The second byte of 乗 is that of a backslash.
        ("乗.txt".encode("gbk"), "乗.txt"),
        ("Größe.txt".encode(), "Größe.txt"),
        ("naïve café.txt".encode("cp437"), "naïve café.txt"),
        (b"plain.txt", "plain.txt"),
    ],
)
def test_names_without_the_flag_of_utf_8(raw: bytes, name: str, tmp_path: Path) -> None:
    assert refusal_of(zips.named((raw, b"x"), (b"index.py", b"")), tmp_path) is None
    assert (tmp_path / name).read_bytes() == b"x"


def test_the_unicode_path_of_info_zip(tmp_path: Path) -> None:
    raw = "数据".encode("gbk")
    for number, (about, name) in enumerate([(raw, "other"), (b"another name", "数据")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        extra = zips.unicode_path(about, "other")
        assert refusal_of(zips.named((raw, b"x"), extra=extra), folder) is None
        assert [path.name for path in folder.iterdir()] == [name]


def test_names_that_debians_zip_wrote(tmp_path: Path) -> None:
    """And those of Python 2's zipfile, which is what the old SDK packs folders with."""
    program = shutil.which("zip")
    if program is None:
        pytest.skip("needs the program zip")
    code = tmp_path / "code"
    (code / "目录").mkdir(parents=True)
    (code / "目录" / "数据.txt").write_text("x")
    (code / "别名").symlink_to("目录/数据.txt")
    subprocess.run([program, "-q", "-r", "-y", tmp_path / "made.zip", "."], cwd=code, check=True)
    out = tmp_path / "out"
    out.mkdir()
    assert refusal_of((tmp_path / "made.zip").read_bytes(), out) is None
    assert (out / "目录" / "数据.txt").read_text() == (out / "别名").read_text() == "x"


def test_two_encodings_of_one_name_are_refused(tmp_path: Path) -> None:
    refusal = refusal_of(zips.named(("数据".encode(), b"x"), ("数据".encode("gbk"), b"y")), tmp_path)
    assert refusal is not None
    assert "'数据'" in refusal


@pytest.mark.parametrize("raw", [b"..\x81", b"\x81\x40/../../x", b"/\xb0\xa1"])
def test_names_that_lead_out_in_any_encoding(raw: bytes, tmp_path: Path) -> None:
    try_to_unpack(zips.named((raw, b"x"), (b"index.py", b"")))


def test_folders_that_paths_imply_count_as_entries(tmp_path: Path) -> None:
    """Each path of 1,000 bytes implies 480 folders: a zip of 1 MB would make 100,000 of them, a larger one millions."""
    deep = zips.zip_of({f"{number}/" + "a/" * 480 + "f": "" for number in range(250)})
    refusal = refusal_of(deep, tmp_path)
    assert refusal is not None
    assert "too many entries: found more than 100000 files and folders, expected at most 100000" in refusal
    assert not list(tmp_path.iterdir())


def test_many_files_in_one_deep_folder(tmp_path: Path) -> None:
    folder = "a/" * 400
    assert refusal_of(zips.zip_of({f"{folder}{number}": "" for number in range(300)}), tmp_path) is None
    assert len(list((tmp_path / folder).iterdir())) == 300


def test_a_file_in_the_way_of_an_implied_folder(tmp_path: Path) -> None:
    for names in (["a/b", "a/b/c/d"], ["a/b/c/d", "a/b"], ["a/b/c", "a/b/x", "a"]):
        refusal = refusal_of(zips.zip_of(dict.fromkeys(names, "x")), tmp_path)
        assert refusal is not None
        assert "folder" in refusal
