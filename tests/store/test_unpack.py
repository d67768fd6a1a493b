"""Whatever bytes arrive: they unpack inside their folder, or are refused in the caller's words.

Run by pytest.
Never looks at what a well-made package becomes: the tests of packages do.
"""

import stat
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import zips

from sesame.model.errors import InvalidArgument
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
    except InvalidArgument as error:
        return str(error)
    return None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_archives(damages: list[tuple[int, int]]) -> None:
    archive = bytearray(GOOD)
    for place, value in damages:
        archive[place] = value
    try_to_unpack(bytes(archive))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(GOOD)), st.binary(max_size=50))
def test_cut_and_continued_archives(end: int, rest: bytes) -> None:
    try_to_unpack(GOOD[:end] + rest)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(NAMES, MODES, NAMES), min_size=1, max_size=5))
def test_wild_names_and_links(entries: list[tuple[list[str], int, list[str]]]) -> None:
    files = {"/".join(name): "/".join(target) for name, _, target in entries}
    modes = {"/".join(name): mode for name, mode, _ in entries}
    try_to_unpack(zips.zip_of(dict(files), modes=modes))
