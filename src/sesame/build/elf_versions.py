"""Reads which versions of symbols a shared library needs, from its section .gnu.version_r.

Used by `build.checks`, for files of whatever content: takes time and memory in proportion to the file's size at most.
"""

import os
import re
import struct
from collections.abc import Iterator
from typing import IO

import msgspec

_MAGIC = b"\x7fELF"
_IDENT_BYTES = 16
_CLASS_AT, _DATA_AT = 4, 5
_BYTE_ORDERS = {1: "<", 2: ">"}
_VERNEED = 0x6FFFFFFE
# Of Elf32_Ehdr and Elf64_Ehdr behind the identification, and of a section's header.
_HEADS = {1: "HHIIIIIHHHHHH", 2: "HHIQQQIHHHHHH"}
_SECTIONS = {1: "10I", 2: "IIQQQQIIQQ"}
# Elf_Verneed and Elf_Vernaux, which are the same for both word sizes.
_NEED, _VERSION = "HHIII", "IHHII"
_ENTRY_BYTES = 16


class _Section(msgspec.Struct, frozen=True):
    kind: int
    offset: int
    size: int
    link: int


class _Damaged(Exception):
    """The file is not what its format says."""


class ElfFile:
    """`file` can be sought in, and stays the caller's."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)

    def needs(self, pattern: re.Pattern[bytes]) -> list[re.Match[bytes]]:
        """What the names of versions match, which end with a null byte. Nothing of a file that is damaged."""
        try:
            return list(self._needed(pattern))
        except _Damaged:
            return []

    def _needed(self, pattern: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
        ident = self._part(0, _IDENT_BYTES)
        kind, order = ident[_CLASS_AT], _BYTE_ORDERS.get(ident[_DATA_AT])
        if not ident.startswith(_MAGIC) or kind not in _HEADS or order is None:
            raise _Damaged
        sections = self._sections(order + _HEADS[kind], order + _SECTIONS[kind])
        # A library has one such section.
        section = next((each for each in sections if each.kind == _VERNEED), None)
        if section is None or section.link >= len(sections):
            return
        strings = sections[section.link]
        names = self._part(strings.offset, strings.size)
        for at in name_offsets(self._part(section.offset, section.size), order):
            if found := pattern.match(names, at):
                yield found

    def _sections(self, head_form: str, form: str) -> list[_Section]:
        head = struct.unpack(head_form, self._part(_IDENT_BYTES, struct.calcsize(head_form)))
        offset, size, number = head[5], head[10], head[11]
        if size != struct.calcsize(form):
            raise _Damaged
        # A file with 65,280 sections and more says 0 here: no library has so many.
        found = struct.iter_unpack(form, self._part(offset, size * number))
        return [_Section(each[1], each[4], each[5], each[6]) for each in found]

    def _part(self, offset: int, length: int) -> bytes:
        if offset + length > self._size:
            raise _Damaged
        self._file.seek(offset)
        return self._file.read(length)


def name_offsets(data: bytes, order: str) -> Iterator[int]:
    """Where the name of each version begins among the strings; as many as `data` has room for, whatever it says."""
    need, version = struct.Struct(order + _NEED), struct.Struct(order + _VERSION)
    left = len(data) // _ENTRY_BYTES
    at = 0
    while left > 0 and at + _ENTRY_BYTES <= len(data):
        left -= 1
        _revision, count, _library, first, following = need.unpack_from(data, at)
        inner = at + first
        while count > 0 and left > 0 and inner + _ENTRY_BYTES <= len(data):
            left, count = left - 1, count - 1
            _hash, _flags, _number, name, step = version.unpack_from(data, inner)
            yield name
            if not step:
                break
            inner += step
        if not following:
            return
        at += following
