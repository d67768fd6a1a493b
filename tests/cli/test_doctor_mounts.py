"""What `sesame doctor` says of NAS: directories that are there, are missing, or cannot be mounted.

Run by pytest.
"""

from pathlib import Path

import msgspec
import pytest
from tests.support.jails import root_only

from sesame.cli.doctor_mounts import mounts
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
