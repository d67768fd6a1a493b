"""The sandbox driver is opened beside other work, and nothing of it is left when that work fails."""

import asyncio
from pathlib import Path

import pytest

from sesame._sandbox import OpenSandbox, SandboxNeeds, SandboxOpening
from sesame.app import Sesame
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.runtimes.site_packages import SitePackages
from sesame.settings import Settings


def needs(tmp_path: Path, driver: str = "plain") -> SandboxNeeds:
    return SandboxNeeds(
        driver=driver, cpu="shares", state=tmp_path, look_up=lambda: Runtimes({}, SitePackages(tmp_path, {}))
    )


async def opened_and_closed(tmp_path: Path) -> OpenSandbox:
    opening = SandboxOpening(needs(tmp_path))
    found = await opening.opened()
    await opening.close()
    await opening.close()
    return found


def test_it_can_be_closed_twice(tmp_path: Path) -> None:
    assert asyncio.run(opened_and_closed(tmp_path)).driver.name == "plain"


def test_what_is_being_opened_is_closed_once_it_is_open(tmp_path: Path) -> None:
    async def run() -> None:
        opening = SandboxOpening(needs(tmp_path))
        await opening.close()
        await (await opening.opened()).driver.close()

    asyncio.run(run())


def test_a_failure_is_told_to_who_waits_for_it_and_closing_is_none(tmp_path: Path) -> None:
    def fail() -> Runtimes:
        raise ConfigurationError("interpreters: there is none")

    async def run() -> None:
        opening = SandboxOpening(SandboxNeeds(driver="plain", cpu="shares", state=tmp_path, look_up=fail))
        with pytest.raises(ConfigurationError, match="there is none"):
            await opening.opened()
        await opening.close()

    asyncio.run(run())


def test_a_start_that_fails_meanwhile_leaves_no_driver(tmp_path: Path) -> None:
    (tmp_path / "sesame.db").write_bytes(b"no database" * 1000)

    async def run() -> set[str]:
        sesame = Sesame(Settings(data_dir=tmp_path, port=0, oss_port=0, sandbox="plain"))
        with pytest.raises(ConfigurationError):
            await sesame.start()
        return {task.get_name() for task in asyncio.all_tasks()} - {asyncio.current_task().get_name()}  # type: ignore[union-attr]

    assert asyncio.run(run()) == set()
