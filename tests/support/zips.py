"""Zip archives for tests, good and bad, made in memory.

Used by the tests of packages and of control.
Never touches the disk.
"""

import io
import stat
import struct
import zipfile
import zlib

FILE = stat.S_IFREG | 0o644
LINK = stat.S_IFLNK | 0o777


def zip_of(files: dict[str, bytes | str], *, modes: dict[str, int] | None = None) -> bytes:
    """An archive of these files, each with the mode given for its name; names that end in / are folders."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            add(archive, name, content, (modes or {}).get(name, FILE))
    return buffer.getvalue()


def add(archive: zipfile.ZipFile, name: str, content: bytes | str, mode: int = FILE) -> None:
    info = zipfile.ZipInfo(name, (2020, 2, 3, 4, 5, 6))
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content)


def broken_crc() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("index.py", "print('precious')")
    return buffer.getvalue().replace(b"precious", b"poisoned")


def renamed(before: str, after: str) -> bytes:
    """An archive whose one entry has a name that zipfile would not write."""
    return zip_of({before: b"x"}).replace(before.encode(), after.encode())


def encrypted() -> bytes:
    data = bytearray(zip_of({"index.py": b"x"}))
    data[6] |= 1
    central = data.index(b"PK\x01\x02")
    data[central + 8] |= 1
    return bytes(data)


def lying_bomb(real_bytes: int, declared_bytes: int) -> bytes:
    """Declares in its directory much less than what comes out."""
    data = bytearray(zip_of({"bomb": b"\0" * real_bytes}))
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, 22, declared_bytes)
    struct.pack_into("<I", data, central + 24, declared_bytes)
    return bytes(data)


def with_method(method: int) -> bytes:
    data = bytearray(zip_of({"index.py": b"x"}))
    struct.pack_into("<H", data, 8, method)
    struct.pack_into("<H", data, data.index(b"PK\x01\x02") + 10, method)
    return bytes(data)


def doubled(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("aaaaaaaa", "1")
        archive.writestr(name, "2")
    return buffer.getvalue().replace(b"aaaaaaaa", name.encode())


def named(*entries: tuple[bytes, bytes], extra: bytes = b"") -> bytes:
    """An archive of (name, content) whose names are these bytes, without the flag that says UTF-8."""
    local, directory = b"", b""
    for name, content in entries:
        fields = struct.pack("<HHHHHIII", 20, 0, 0, 0, 33, zlib.crc32(content), len(content), len(content))
        lengths = struct.pack("<HH", len(name), len(extra))
        directory += b"PK\x01\x02" + struct.pack("<H", 0x314) + fields + lengths
        directory += struct.pack("<HHHII", 0, 0, 0, FILE << 16, len(local)) + name + extra
        local += b"PK\x03\x04" + fields + lengths + name + extra + content
    end = struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), len(local), 0)
    return local + directory + b"PK\x05\x06" + end


def unicode_path(raw: bytes, name: str) -> bytes:
    """Info-ZIP's extra field that gives the name `raw` in UTF-8."""
    field = b"\x01" + struct.pack("<I", zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(field)) + field
