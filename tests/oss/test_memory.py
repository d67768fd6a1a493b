"""Objects stream both ways with flat memory, and so do copies and joined parts. The endpoint is a process of its own.

Run by pytest; reads the process's peak of resident memory as the kernel counts it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import oss2
import pytest
from oss2.models import PartInfo
from tests.oss.conftest import KEY_ID, SECRET
from tests.torture.test_oss_kill import Endpoints, kill

OBJECT_MB = [64, pytest.param(192, marks=pytest.mark.thorough)]
GROWTH_BYTES_MAX = 24 * 1024 * 1024
CHUNK = bytes(1024 * 1024)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, oss2.Bucket]]:
    endpoints = Endpoints(tmp_path)
    pid, url = endpoints.open()
    bucket = oss2.Bucket(oss2.Auth(KEY_ID, SECRET), url, "photos")
    bucket.create_bucket()
    yield pid, bucket
    kill(pid)
    endpoints.close()


def peak_bytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of memory are read from /proc")
@pytest.mark.parametrize("megabytes", OBJECT_MB)
def test_memory_stays_flat_whatever_an_object_weighs(served: tuple[int, oss2.Bucket], megabytes: int) -> None:
    pid, bucket = served
    size = megabytes * len(CHUNK)
    bucket.put_object("warm", CHUNK * 4)
    assert bucket.get_object("warm").read() == CHUNK * 4
    before = peak_bytes(pid)
    bucket.put_object("k", (CHUNK for _ in range(megabytes)))
    assert sum(len(chunk) for chunk in bucket.get_object("k")) == size
    bucket.copy_object("photos", "k", "copy")
    upload = bucket.init_multipart_upload("joined").upload_id
    parts = [
        PartInfo(n, bucket.upload_part_copy("photos", "k", (None, None), "joined", upload, n).etag) for n in (1, 2)
    ]
    bucket.complete_multipart_upload("joined", upload, parts)
    assert bucket.head_object("joined").content_length == 2 * size
    assert peak_bytes(pid) - before < GROWTH_BYTES_MAX
