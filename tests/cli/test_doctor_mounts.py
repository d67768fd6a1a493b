"""What `sesame doctor` says of NAS and buckets: directories that are there, are missing, or cannot be mounted.

Run by pytest.
"""

from pathlib import Path

import msgspec
import pytest
from tests.support.fakes import FakeDriver
from tests.support.jails import root_only

from sesame.cli.doctor_mounts import buckets, mounts
from sesame.cli.finding import BAD, GOOD, POOR
from sesame.settings import Settings


def states(named: dict[str, Path], nas: Path, driver: str) -> list[str]:
    settings = msgspec.structs.replace(Settings(), mounts=named)
    return [finding.state for finding in mounts(settings, nas, driver)]


@pytest.mark.parametrize(("driver", "first"), [("jail", []), ("plain", [POOR])])
def test_directories_are_named_and_missing_ones_are_wrong(tmp_path: Path, driver: str, first: list[str]) -> None:
    named = {"here:/": tmp_path, "gone:/": tmp_path / "gone"}
    assert states(named, tmp_path / "data" / "nas", driver) == [*first, GOOD, GOOD, BAD]


@root_only
def test_a_file_system_that_cannot_be_mounted_for_others_is_a_restriction(tmp_path: Path) -> None:
    assert states({"proc:/": Path("/proc")}, tmp_path, "jail") == [GOOD, POOR]


def test_buckets_that_cannot_be_mounted_are_a_restriction_with_its_reason() -> None:
    driver = FakeDriver()
    assert buckets(driver).state == GOOD  # type: ignore[arg-type]
    driver.no_buckets = "FUSE cannot be used here"
    found = buckets(driver)  # type: ignore[arg-type]
    assert (found.state, "FUSE cannot be used here" in found.what) == (POOR, True)
