"""What libraries need is read from files of whatever content, in time and memory that follow from their size.

Run by pytest, with damaged copies of a library of this machine.
"""

import io
import math
import re
import struct
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.interpreters import INTERPRETERS

from sesame.build.checks import glibc_needed
from sesame.build.elf_versions import ElfFile, name_offsets

LIBRARY = next(iter((INTERPRETERS["python3.12"].prefix / "lib/python3.12/lib-dynload").glob("math.*.so")))
DATA = LIBRARY.read_bytes()
EVERY = re.compile(rb"([^\0]*)\0")
VERNEED = 0x6FFFFFFE
SECTION = struct.Struct("<IIQQQQIIQQ")


class Counted(io.BytesIO):
    """Counts what is read."""

    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.bytes_read += len(data)
        return data


def section_header() -> int:
    """Where the header of .gnu.version_r is in the file."""
    offset, size, number = struct.unpack_from("<Q", DATA, 40)[0], *struct.unpack_from("<HH", DATA, 58)
    assert size == SECTION.size
    [found] = [at for at in range(offset, offset + size * number, size) if SECTION.unpack_from(DATA, at)[1] == VERNEED]
    return int(found)


def damaged(changes: dict[int, int]) -> bytes:
    data = bytearray(DATA)
    for at, value in changes.items():
        data[at] = value
    return bytes(data)


def test_the_names_are_those_that_the_library_says() -> None:
    found = {match[1] for match in ElfFile(io.BytesIO(DATA)).needs(EVERY)}
    assert found == {each for each in found if each.startswith(b"GLIBC_")} != set()
    assert all(each + b"\0" in DATA for each in found)


@pytest.mark.parametrize("field", range(0, SECTION.size, 4))
def test_a_damaged_head_of_the_section_does_not_keep_the_reader(tmp_path: Path, field: int) -> None:
    changed = damaged({section_header() + field + byte: 0xFF for byte in range(4)})
    (tmp_path / "library.so").write_bytes(changed)
    assert glibc_needed(tmp_path / "library.so") in ((0, 0), glibc_needed(LIBRARY))


# Where a changed byte matters: the file's head, the headers of sections and the section itself.
_AT = SECTION.unpack_from(DATA, section_header())
PLACES = st.one_of(
    st.integers(0, 63), st.integers(section_header() - 2 * 64, section_header() + 127),
    st.integers(_AT[4], _AT[4] + _AT[5] - 1), st.integers(0, len(DATA) - 1),
)  # fmt: skip


@given(st.dictionaries(PLACES, st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]), max_size=12), st.integers(0, len(DATA)))
def test_whatever_is_damaged_the_reader_takes_little(changes: dict[int, int], length: int) -> None:
    for data in (damaged(changes), damaged(changes)[:length]):
        file = Counted(data)
        found = ElfFile(file).needs(EVERY)
        # The headers, the section and its strings, which can overlap.
        assert file.bytes_read <= 4 * len(data)
        assert len(found) <= len(data) // 16


@given(st.binary(max_size=400), st.sampled_from("<>"))
def test_entries_are_as_many_as_there_is_room_for(data: bytes, order: str) -> None:
    most = len(data) // 16
    assert len(list(islice(name_offsets(data, order), most + 1))) <= most


@pytest.mark.parametrize(("following", "step"), [(0, 0), (0, 1), (1, 1), (16, 0)])
def test_a_chain_that_leads_to_itself_ends(following: int, step: int) -> None:
    entry = struct.pack("<HHIII", 1, 0xFFFF, 0, 16, following) + struct.pack("<IHHII", 0, 0, 2, 7, step)
    found = list(islice(name_offsets(entry * 8, "<"), math.prod((2, len(entry)))))
    assert 1 <= len(found) <= 16
