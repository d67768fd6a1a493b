"""The contract with functions, held by the jail too: every test of tests/runtime that speaks of a driver, run again."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.runtime.test_contract import *  # noqa: F403
from tests.runtime.test_failures import *  # noqa: F403
from tests.runtime.test_http import *  # noqa: F403
from tests.runtime.test_output import *  # noqa: F403
from tests.sandbox.jail_stage import jail, jail_only

from sesame.sandbox.jail import JailDriver

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[JailDriver]:
    async with jail(tmp_path_factory.mktemp("jail")) as made:
        yield made
