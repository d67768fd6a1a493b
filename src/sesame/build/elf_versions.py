"""Reads the symbol versions that a shared library needs from its section .gnu.version_r.

Used by `build.checks`, on untrusted files: time and memory are at most proportional to the file's size.
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
# Elf32_Ehdr and Elf64_Ehdr after the identification, and the section headers.
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
    """The file does not follow the format."""


class ElfFile:
    """`file` must be seekable; the caller closes it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)

    def needs(self, pattern: re.Pattern[bytes]) -> list[re.Match[bytes]]:
        """Matches of the pattern on version names, each of which ends in a null byte; empty for a damaged file."""
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
        # A library has only one such section.
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
        # A file with 65,280 or more sections has 0 here; no library has that many.
        found = struct.iter_unpack(form, self._part(offset, size * number))
        return [_Section(each[1], each[4], each[5], each[6]) for each in found]

    def _part(self, offset: int, length: int) -> bytes:
        if offset + length > self._size:
            raise _Damaged
        self._file.seek(offset)
        return self._file.read(length)


def name_offsets(data: bytes, order: str) -> Iterator[int]:
    """The offset of each version's name in the string table; bounded by the size of `data`, whatever it claims."""
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
