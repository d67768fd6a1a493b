"""A whole Sesame: faults of the machine at a start, damage that heals itself, and background tasks that come back.

Run by pytest. Opens ports on 127.0.0.1 only.
"""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.data_directory import Stores, fill
from tests.support.fakes import FakeClocks
from tests.support.virtual_time import eventually

from sesame.app import Sesame
from sesame.background import BackgroundTasks
from sesame.model.errors import ConfigurationError
from sesame.settings import Settings


@pytest.mark.usefixtures("few_runtimes")
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


IS_A_FILE = "is a file, expected a directory; move it away and start again, or name another data directory"
IS_NO_DIRECTORY = "is no directory; move it away, or put the directory back, and start again"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("objects", IS_A_FILE), ("objects/drafts", IS_A_FILE), ("objects/data", IS_A_FILE),
        ("objects/data/00", IS_NO_DIRECTORY),
        ("packages", IS_A_FILE), ("packages/staging", IS_A_FILE), ("sandboxes", IS_A_FILE),
    ],
)  # fmt: skip
async def test_a_file_in_the_place_of_a_directory_is_named_with_the_next_step(
    tmp_path: Path, name: str, says: str
) -> None:
    settings = Settings(port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain")
    place = settings.data_dir / name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match=f"{place} {says}"):
        await Sesame(settings).start()
    assert place.read_bytes() == b"mine"


@pytest.mark.usefixtures("few_runtimes")
async def test_the_clocks_that_are_handed_in_date_all_that_is_kept_and_announced(tmp_path: Path) -> None:
    clocks = FakeClocks()
    sesame = Sesame(Settings(port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain"), clocks)
    await sesame.start()
    try:
        assert sesame.endpoints.started_at == clocks.wall()
    finally:
        await sesame.stop()


@pytest.mark.parametrize("sandbox", ["plain", "auto"])
async def test_background_tasks_that_are_killed_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: str
) -> None:
    monkeypatch.setattr(BackgroundTasks.__init__, "__defaults__", (0.01,))
    here = asyncio.all_tasks()
    sesame = Sesame(Settings(port=0, oss_port=0, data_dir=tmp_path / "data", sandbox=sandbox))
    await sesame.start()
    try:
        before = tasks_by_name()
        assert {"sesame tidying up", "sesame collecting packages", "sesame compiling packages"} <= before.keys()
        if sandbox == "plain":
            # Nothing runs in the background that is not kept alive,
            # but what was asked of the queue at the start.
            await eventually(lambda: asyncio.all_tasks() - here - set(before.values()) == set())
        for task in before.values():
            task.cancel()
        async with asyncio.timeout(30):
            while not came_back(before):  # noqa: ASYNC110 - a task that starts tells nobody
                await asyncio.sleep(0.01)
    finally:
        await sesame.stop()
    assert tasks_by_name() == {}


def came_back(before: "dict[str, asyncio.Task[Any]]") -> bool:
    now = tasks_by_name()
    return all(name in now and now[name] is not task for name, task in before.items())


def tasks_by_name() -> "dict[str, asyncio.Task[Any]]":
    """The background tasks that run now."""
    named = {task.get_name(): task for task in asyncio.all_tasks() if not task.done()}
    return {name: task for name, task in named.items() if name.startswith("sesame ")}


async def test_strays_damaged_logs_and_lost_packages_end_no_start(tmp_path: Path) -> None:
    stores = Stores(tmp_path / "data")
    await stores.open()
    await fill(stores)
    await stores.close()
    data = stores.data_dir.path
    for stray in ("drafts/folder/deep", "data/00/folder", "data/folder"):
        (data / "objects" / stray).mkdir(parents=True)
    (data / "objects" / "stray").touch()
    (data / "packages" / "stray").mkdir()
    (data / "packages" / "staging" / "stray").touch()
    (data / "stray").mkdir()
    (data / "logs.db").write_text("damaged")
    (data / "endpoints.json").write_text("damaged")
    (data / "credentials.json").write_text("damaged")
    (data / "credentials.part").write_text("left by a crash")
    for code in list((data / "packages").glob("*/code")):
        shutil.rmtree(code)
    sesame = Sesame(Settings(port=0, oss_port=0, data_dir=data, sandbox="plain"))
    await sesame.start()
    try:
        notices = " ".join(sesame.notices())
        assert "logs of functions in" in notices
        assert "were damaged" in notices
        assert "that nothing mentioned lie in" in notices
        assert sesame.data_dir.credentials().account_id
    finally:
        await sesame.stop()
    assert (data / "stray").is_dir()
