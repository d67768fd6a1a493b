"""The choice of a driver: by name without a word, by strength with its reason, and never a silent fallback."""

from pathlib import Path

import pytest

from sesame.sandbox.drivers import Wanted, choose
from sesame.sandbox.jail.isolation import Isolation
from sesame.sandbox.launch import Launch


def launch(runtime: str) -> Launch:
    raise LookupError(runtime)


def wanted(name: str, tmp_path: Path) -> Wanted:
    return Wanted(name=name, cpu="shares", state=tmp_path, runtimes=())


@pytest.mark.parametrize("name", ["plain", "jail"])
async def test_a_driver_can_be_chosen_by_name(name: str, tmp_path: Path) -> None:
    choice = await choose(wanted(name, tmp_path), launch)
    assert (choice.driver.name, choice.reason) == (name, "")


@pytest.mark.parametrize(
    ("isolation", "name", "reason"),
    [
        (Isolation("root"), "jail", ""),
        (Isolation("user", "no root", "run as root"), "jail", "in a user namespace: no root; run as root"),
        (Isolation("none", "no Linux", "use plain"), "plain", "no jail, because no Linux; use plain"),
    ],
)
async def test_auto_takes_the_strongest_possible_driver_and_says_why_no_stronger_one(
    isolation: Isolation, name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sesame.sandbox.jail.isolation.probe", lambda: isolation)
    choice = await choose(wanted("auto", tmp_path), launch)
    assert (choice.driver.name, choice.reason) == (name, reason)
