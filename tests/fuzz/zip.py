"""Archives of code: each unpacks inside its folder, or is refused in words, whatever its headers say."""

import zipfile
from collections.abc import Iterator
from io import BytesIO

from tests.store.test_unpack import GOOD, try_to_unpack
from tests.support import zips
from tests.support.fuzzing import Kind, just


def take(data: bytes) -> None:
    try_to_unpack(data)


def stored(names: dict[str, bytes]) -> bytes:
    """Without compression, so that changes of bytes reach contents and names alike."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def seeds() -> Iterator[bytes]:
    yield GOOD
    yield stored({"index.py": b"def handler(e, c):\n    return e\n", "a/b/c.txt": b"x", "d/": b""})
    yield zips.zip_of(
        {"a/link": "../index.py", "index.py": "x", "b": "a/link"}, modes={"a/link": zips.LINK, "b": zips.LINK}
    )
    yield zips.named(("数据.txt".encode(), b"x"), (b"index.py", b""))
    yield zips.named(("数据".encode("gbk"), b"x"), extra=zips.unicode_path("数据".encode("gbk"), "other"))
    yield zips.encrypted()
    yield zips.broken_crc()
    yield zips.renamed("aaaaaaaa", "../../xx")
    yield zips.zip_of({"nested.zip": GOOD, "bomb": b"\0" * 200_000})
    with BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("big", "w", force_zip64=True) as file:
                file.write(b"zip64" * 100)
        yield buffer.getvalue()


KIND = Kind(
    seeds=list(seeds()),
    words=[
        b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08", b"\xff\xff\xff\xff",
        b"\xff\xff", b"\x01\x00\x1c\x00", b"up", b"../", b"/", b"\\", b"C:", b"\x08\x00", b"\x00\x08", b"\x0c\x00",
        b"\x0e\x00", b"\x00\xa1\xed", b"\xed\x41\x00", b"\xff\xa1",
    ],
    opened=just(take),
    examples=100,
)  # fmt: skip
