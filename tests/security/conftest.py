"""Lends the stage of tests/runtime to the attackers, in jails of both isolation levels.

Read by pytest. Holds no test.
"""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.runtime.conftest import stage, until
from tests.security.grades import GRADES
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail

from sesame.sandbox.jail.driver import JailDriver

__all__ = ["driver", "runtime", "stage", "until"]


# Of an image's files an instance opens a copy of its own (tests/sandbox/test_jail_images.py).
OF_ITS_OWN = "opens_runtime"
# What the kernel lets root do, who made the jail of an ordinary user here: as nobody, see sandbox/test_jail_user.py.
OF_ROOT = frozenset({"opens_sysctl", "forks", "threads"})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out attacks on walls that an attacker is not behind."""
    left_out = [item for item in items if _has_no_wall(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _has_no_wall(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is None or not {"attacker", "probe"} <= callspec.params.keys():
        return False
    attack, attacker = callspec.params["probe"].attack, callspec.params["attacker"]
    if attack == OF_ITS_OWN:
        return bool(attacker != "program")
    return attack in OF_ROOT and attacker == "image-user" and os.geteuid() == 0


# The kernel holds the walls, whatever attacks them: the newest runtime in `make test`, the oldest by `make test-all`,
# one between them by `make torture`. Which wall it is that holds is shown with the newest, and with the others there.
RUNTIMES = (
    pytest.param("python2.7", marks=pytest.mark.thorough),
    pytest.param("python3", marks=pytest.mark.torture),
    "python3.12",
)
NEWEST = [*(pytest.param(each, marks=pytest.mark.torture) for each in ("python2.7", "python3")), "python3.12"]


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param not in INTERPRETERS:
        pytest.skip(f"no interpreter found for {request.param}")
    return str(request.param)


@pytest.fixture(scope="module", params=list(GRADES))
def grade(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory, grade: str) -> AsyncIterator[JailDriver]:
    async with jail(tmp_path_factory.mktemp("jail"), **GRADES[grade]) as made:
        yield made
