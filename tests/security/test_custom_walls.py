"""Every attack fails from a custom runtime too, which is a program of the function's own and no Python of ours.

And from one whose root is a container image. That the walls are what stops them is shown in test_walls.py.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.runtime.conftest import Stage
from tests.security.conftest import OF_ITS_OWN
from tests.security.grades import GRADES
from tests.security.probes import PROBES, Probe, one_of_each_set
from tests.security.test_walls import Host, Scene, attack, require
from tests.support.custom import CustomStage
from tests.support.images import ContainerStage, python_root
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail, jail_only

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]

VICTIM = "python3.12"


@pytest.fixture(scope="module")
def runtime() -> str:
    """The victim's."""
    if VICTIM not in INTERPRETERS:
        pytest.skip(f"no interpreter found for {VICTIM}")
    return VICTIM


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an image."""
    return python_root(tmp_path_factory.mktemp("image"))


def attacks() -> Iterator[Any]:
    """With who attacks. Its jail has the walls of any other: `make test` tries one attack on each set of them from a
    program, `make test-all` every one, and one on each set from an image. The rest of an image's come in
    `make torture`, as all do from an ordinary user's image, where root makes it.
    """
    chosen = one_of_each_set(probe for probe in PROBES if probe.attack != OF_ITS_OWN)
    for attacker in ("program", "image-root", "image-user"):
        for probe in PROBES:
            yield pytest.param(attacker, probe, marks=tier(attacker, probe in chosen), id=f"{attacker}-{probe.attack}")


def tier(attacker: str, for_its_set: bool) -> Any:
    if attacker == "image-user":
        return pytest.mark.torture if os.geteuid() == 0 else ()
    if attacker == "program":
        return () if for_its_set else pytest.mark.thorough
    return pytest.mark.thorough if for_its_set else pytest.mark.torture


@pytest_asyncio.fixture(loop_scope="module")
async def scene(tmp_path: Path, runtime: str) -> AsyncIterator[Scene]:
    made = Scene(tmp_path, runtime)
    yield made
    made.close()


HostOf = Callable[[str, Mapping[str, Any]], Awaitable[Host]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host_of(tmp_path_factory: pytest.TempPathFactory, runtime: str, root: Path) -> AsyncIterator[HostOf]:
    """One host for each attacker and set of options, with one victim that has to survive every attack on it.

    An image's jail is also one that an ordinary user makes.
    """
    hosts: dict[str, Host] = {}
    async with AsyncExitStack() as drivers:

        async def made(attacker: str, options: Mapping[str, Any]) -> Host:
            key = f"{attacker} {sorted(options.items())}"
            if key not in hosts:
                grade = GRADES.get(attacker.removeprefix("image-"), {})
                driver = await drivers.enter_async_context(jail(tmp_path_factory.mktemp("jail"), **options, **grade))
                victim = await Stage(driver, runtime).start("victim", instance_id="c-victim-of-all")
                stage = CustomStage(driver) if attacker == "program" else ContainerStage(driver, root)
                hosts[key] = Host(stage, victim)
            return hosts[key]

        yield made


@pytest.mark.parametrize(("attacker", "probe"), list(attacks()))
async def test_the_attack_fails(attacker: str, probe: Probe, scene: Scene, host_of: HostOf) -> None:
    require(probe)
    # Between the program and the instance's first process is what started the program.
    event = {**probe.event, "generations": 2}
    assert await attack(await host_of(attacker, probe.options), replace(probe, event=event), scene) is not True
