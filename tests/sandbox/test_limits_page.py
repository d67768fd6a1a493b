"""The table of limits in SPECIFICATION.md names tests that exist, and numbers that are the code's."""

import re
from pathlib import Path

import pytest
from tests.security.probes import PROBES

from sesame.model import limits
from sesame.sandbox import wire
from sesame.sandbox.jail import policy as jail_terms
from sesame.sandbox.process import driver as plain
from sesame.settings import Settings

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "SPECIFICATION.md").read_text()
ROWS = {
    resource_pool[0]: resource_pool
    for line in PAGE.split("## The sandbox")[1].split("\n\nProbes ")[0].splitlines()
    if line.startswith("| ")
    and (resource_pool := [resources.strip() for resources in line.strip("|").split("|")])[0] != "what"
}


@pytest.mark.parametrize("what", ROWS)
def test_each_limit_is_held_by_tests_that_exist(what: str) -> None:
    named = re.findall(r"`([a-z_/]+\.py)::(test_[a-z0-9_]+)`", ROWS[what][5])
    probes = re.findall(r"probe `([a-z_]+)`", ROWS[what][5])
    assert named or probes
    for file, test in named:
        assert re.search(rf"^(async )?def {test}\(", (TESTS / file).read_text(), re.MULTILINE), (file, test)
    assert set(probes) <= {probe.attack for probe in PROBES}


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("processes and threads", [limits.PROCESSES]),
        ("open files", [limits.FILE_DESCRIPTORS]),
        ("/tmp, size", [limits.DISK_MB_CHOICES[0], limits.DISK_MB_CHOICES[1] // 1024]),
        ("event", [limits.SYNC_PAYLOAD_BYTES >> 20]),
        ("result", [limits.RESPONSE_PAYLOAD_BYTES >> 20]),
        ("a frame of the wire", [wire.MAX_FRAME_BYTES >> 20, wire.MAX_HEADER_BYTES >> 20]),
        ("output, kept of one call", [Settings().log_bytes_per_call >> 20]),
        ("package", [limits.CODE_ZIP_BYTES >> 20, limits.CODE_UNPACKED_BYTES >> 20, limits.CODE_ENTRIES]),
        ("instances of a function; memory of all", [Settings().max_instances]),
        (
            "time of a call, of an initializer",
            [
                limits.TIMEOUT_S_MIN,
                limits.TIMEOUT_S_MAX,
                limits.INITIALIZATION_TIMEOUT_S_MIN,
                limits.INITIALIZATION_TIMEOUT_S_MAX,
            ],
        ),
    ],
)
def test_the_page_states_the_limits_of_the_code(what: str, numbers: list[int]) -> None:
    assert [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", ROWS[what][1])] == numbers


def test_the_drivers_take_the_same_numbers() -> None:
    assert jail_terms.PROCESSES == limits.PROCESSES
    assert jail_terms.FILE_DESCRIPTORS == plain.FILE_DESCRIPTORS == limits.FILE_DESCRIPTORS
