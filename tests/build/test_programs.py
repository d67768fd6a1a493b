"""What programs need is found by reading them: libraries, what is missing, and what is no program at all.

Run by pytest. Nothing that is read here is run.
"""

import contextlib
import shutil
import sys
from pathlib import Path

import pytest

from sesame.build import programs
from sesame.build.program_layer import lay_out
from sesame.build.programs import Program
from sesame.model.errors import ConfigurationError

ZIP = Path("/usr/bin/zip")
pytestmark = pytest.mark.skipif(
    not (sys.platform == "linux" and ZIP.exists()), reason="needs the program zip, as Linux has it"
)


def patched(tmp_path: Path, before: bytes, after: bytes) -> Path:
    """The program zip, with another name of the same length in the place of one that it needs."""
    data = ZIP.read_bytes()
    assert data.count(before) == 1
    path = tmp_path / "patched"
    path.write_bytes(data.replace(before, after))
    return path


def test_libraries_but_not_the_c_library_are_found_by_name() -> None:
    found = programs.read(programs.find("zip"))
    assert found.path == ZIP
    assert list(found.libraries) == ["libbz2.so.1.0"]
    assert found.libraries["libbz2.so.1.0"].name.startswith("libbz2.so.1.0.")


def test_what_is_missing_is_named_with_who_needs_it(tmp_path: Path) -> None:
    broken = patched(tmp_path, b"libbz2.so.1.0\0", b"libbz9.so.1.0\0")
    with pytest.raises(ConfigurationError, match=r"libbz9.so.1.0 \(for patched\)"):
        programs.read(broken)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#!/bin/sh\n", "is no ELF program but a script"),
        (b"", "is no ELF program;"),
        (b"\x7fELF", "is no ELF program;"),
        (b"\x7fELF" + b"\xff" * 2000, "is no ELF program;"),
    ],
)
def test_what_is_no_program_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        programs.read(tmp_path / "file")


@pytest.mark.parametrize("at", range(0, 64, 7))
def test_a_damaged_head_is_refused_or_read_and_never_ends_the_command(tmp_path: Path, at: int) -> None:
    data = bytearray(ZIP.read_bytes())
    data[at] ^= 0xFF
    (tmp_path / "file").write_bytes(data)
    with contextlib.suppress(ConfigurationError):
        programs.read(tmp_path / "file")


@pytest.mark.parametrize("size", [0, 1, 32])
def test_more_segments_than_there_is_room_for_are_not_gone_through(tmp_path: Path, size: int) -> None:
    data = bytearray(ZIP.read_bytes())
    # e_phentsize and e_phnum, which every step would count down from.
    data[54:58] = size.to_bytes(2, "little") + (0xFFFE).to_bytes(2, "little")
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ConfigurationError, match="is no ELF program"):
        programs.read(tmp_path / "file")


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="there is no program 'no-such-program' on this machine"):
        programs.find("no-such-program")


def test_a_layer_has_programs_under_their_names_and_libraries_under_those_that_are_asked_for(tmp_path: Path) -> None:
    made = lay_out([("packer", programs.read(ZIP))], tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        "bin/packer", "lib/libbz2.so.1.0",
    ]  # fmt: skip
    assert (tmp_path / "bin" / "packer").stat().st_mode & 0o777 == 0o755
    assert (made.libraries, made.glibc > (2, 0)) == (1, True)


def test_two_programs_that_need_different_files_of_one_name_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "libbz2.so.1.0"
    shutil.copy(ZIP, other)
    both = [("zip", programs.read(ZIP)), ("other", Program(other, {"libbz2.so.1.0": other}))]
    with pytest.raises(ConfigurationError, match=r"would both become lib/libbz2.so.1.0"):
        lay_out(both, tmp_path / "layer")
