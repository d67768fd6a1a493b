"""What the roof does by itself: the round that removes unused code, and faults of the machine at a start.

Run by pytest.
Never opens a port but on 127.0.0.1.
"""

from pathlib import Path

import pytest
from tests.support.fakes import FakeClocks

from sesame.app import Sesame
from sesame.model.errors import ConfigurationError
from sesame.settings import Settings


async def test_a_fault_of_the_machine_at_a_start_is_said_and_leaves_the_directory_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_self: object) -> int:
        raise OSError(28, "No space left on device")

    settings = Settings(port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain")
    monkeypatch.setattr("sesame.store.objects.objects.Objects.open", full)
    says = f"cannot start: No space left on device .the data directory is {tmp_path}/data; --data-dir names another"
    with pytest.raises(ConfigurationError, match=says):
        await Sesame(settings).start()
    monkeypatch.undo()
    again = Sesame(settings)
    await again.start()
    await again.stop()


async def test_the_clocks_that_are_handed_in_date_all_that_is_kept_and_announced(tmp_path: Path) -> None:
    clocks = FakeClocks()
    sesame = Sesame(Settings(port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain"), clocks)
    await sesame.start()
    try:
        assert sesame.endpoints.started_at == clocks.wall()
    finally:
        await sesame.stop()
