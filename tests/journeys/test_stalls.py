"""No request holds up the others: the longest stall of the server's event loop over uploads of 100 MB and bad input."""

import base64
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.conftest import Sesame, running
from tests.journeys.test_bad_input import archive, function, send

LONGEST_STALL_S = 0.05
# Where other processes take the caches and the memory's bandwidth, the same steps take longer.
LONGEST_STALL_BUSY_S = 0.1
STALLS = str(Path(__file__).parents[1] / "support" / "stalls.py")
BUSY_PERCENT = 10
PACKAGE_BYTES = 95 * 1024 * 1024


def longest_stall(folder: Path, visit: Any) -> tuple[float, float]:
    """In seconds, with the time that disks took where the machine has nothing else to do; and what is allowed."""
    report = folder / "stall"
    with running(folder, runtime="python3.10", program=(STALLS, str(report))) as sesame:
        assert send(sesame, "POST", "/services", b'{"serviceName": "s"}').status_code == 200
        visit(sesame)
        sesame.stop()
    own_s, wall_s = map(float, report.read_text().split())
    return (own_s, LONGEST_STALL_BUSY_S) if busy() else (wall_s, LONGEST_STALL_S)


def busy() -> bool:
    """Whether processes wait for a processor or a disk more than now and then."""
    pressure = [Path(f"/proc/pressure/{what}") for what in ("cpu", "io")]
    return not all(
        each.exists() and float(each.read_text().split("avg60=")[1].split()[0]) < BUSY_PERCENT for each in pressure
    )


def upload(sesame: Sesame, written: Callable[[str], bytes] = str.encode) -> None:
    zipped = archive(
        ("index.py", "def my_handler(event, context):\n    return 'ok'\n"),
        ("data", os.urandom(PACKAGE_BYTES)),
        method=zipfile.ZIP_STORED,
    )
    answer = send(sesame, "POST", "/services/s/functions", written(json.dumps(function(zipped))))
    assert answer.status_code == 200, answer.text
    assert answer.json()["codeSize"] == len(zipped)


def escaped_upload(sesame: Sesame) -> None:
    """As other encoders write a slash."""
    upload(sesame, lambda body: body.encode().replace(b"/", b"\\/"))


def bad_uploads(sesame: Sesame) -> None:
    large = base64.b64encode(os.urandom(PACKAGE_BYTES))
    code = b'{"functionName": "f", "runtime": "python3", "handler": "i.h", "code": {"zipFile": "%b"}}'
    for body in (
        code % large,
        code % (large[:-100] + b"!" + large[-100:]),
        code % (b'\\"' * (PACKAGE_BYTES // 2)),
        code % large.replace(b"+", b"\\u002b"),
        b"[" * PACKAGE_BYTES,
        b'{"a": "b"}, ' * (PACKAGE_BYTES // 12),
        b'{"description": "%b"}' % large,
        b'"' * PACKAGE_BYTES,
        b"[" + b"0," * 500_000 + b"0]",
        b'{"environmentVariables": {' + b",".join(b'"a%d": ""' % number for number in range(60_000)) + b"}}",
    ):
        answer = send(sesame, "POST", "/services/s/functions", body)
        assert answer.status_code == 400, (body[:100], answer.text)


def refused_events(sesame: Sesame) -> None:
    for _ in range(5):
        answer = send(sesame, "POST", "/services/s/functions/no/invocations", bytes(30_000_000))
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "visit",
    [
        upload,
        *(pytest.param(each, marks=pytest.mark.thorough) for each in (escaped_upload, bad_uploads, refused_events)),
    ],
)
def test_the_loop_goes_on_turning(tmp_path: Path, visit: Any) -> None:
    stall_s, allowed_s = longest_stall(tmp_path, visit)
    assert stall_s <= allowed_s
