"""What clients send as logs: protobuf, plain and compressed, read whole or refused with the API's error."""

import contextlib
import gzip
import zlib

import lz4.block
from tests.sls.test_protobuf import by_client
from tests.support.fuzzing import Kind, just

from sesame.model.logstore import LogGroup, LogRecord
from sesame.sls import protobuf
from sesame.sls.bodies import LOGS_BYTES_MAX, unpacked
from sesame.sls.errors import SlsError
from sesame.sls.request import Request

COMPRESSIONS = ("", "lz4", "deflate", "gzip")


def take(data: bytes) -> None:
    """The first byte says how the body is compressed, the next three how long it says it is."""
    if len(data) < 4:
        return
    headers = {
        "x-log-compresstype": COMPRESSIONS[data[0] % 4],
        "x-log-bodyrawsize": str(int.from_bytes(data[1:4], "big")),
    }
    request = Request("POST", "p", "/", "/", {}, headers, "", "", "", False)
    with contextlib.suppress(SlsError):
        raw = unpacked(request, data[4:], LOGS_BYTES_MAX)
        group = protobuf.read_group(raw)
        assert all(record.time_s > 0 for record in group.records)
        # What was taken can be given again.
        protobuf.write_groups([group])


GROUP = LogGroup(
    (LogRecord(1_700_000_000, 5, (("level", "info"), ("message", "ü" * 40))), LogRecord(1, 0, (("a", ""),))),
    "topic", "10.0.0.1", (("__tag__", "x"),),
)  # fmt: skip
WRITTEN = by_client(GROUP)
MANY = by_client(LogGroup(GROUP.records * 40, "t", "s", ()))


def seed(way: int, raw: bytes, sent: bytes) -> bytes:
    return bytes((way,)) + len(raw).to_bytes(3, "big") + sent


KIND = Kind(
    seeds=[
        seed(0, WRITTEN, WRITTEN),
        seed(0, MANY, MANY),
        *(seed(1, raw, lz4.block.compress(raw, store_size=False)) for raw in (WRITTEN, MANY)),
        *(seed(2, raw, zlib.compress(raw)) for raw in (WRITTEN, MANY)),
        seed(3, MANY, gzip.compress(MANY)),
    ],
    words=[
        b"\x0a\x02", b"\x08\x01", b"\x12\x04", b"\x25\xff\xff\xff\xff", b"\x32\x00", b"\xff" * 9 + b"\x01", b"\x0b",
        b"\x0c",
        b"\x0a\x80\x80\x80\x80\x10", b"\x1a\x01\xff", b"\xff\xff\x7f", b"\x78\x9c", b"\x1f\x8b\x08",
    ],
    opened=just(take),
)  # fmt: skip
