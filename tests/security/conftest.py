"""Lends the stage of tests/runtime to the attackers, in jails of both isolation levels.

Read by pytest. Holds no test.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.runtime.conftest import stage, until
from tests.security.grades import GRADES
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail

from sesame.sandbox.jail.driver import JailDriver

__all__ = ["driver", "runtime", "stage", "until"]


# The kernel holds the walls, whatever attacks them: the oldest and the newest runtime in every run, one between them by
# `make torture`.
RUNTIMES = ("python2.7", pytest.param("python3", marks=pytest.mark.torture), "python3.12")


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
