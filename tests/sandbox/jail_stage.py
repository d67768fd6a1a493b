"""Makes jails for tests, or says why none can be made here.

Used by the tests of the jail and of its walls, which load it by path. Every driver has a directory of its own.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sesame.sandbox.interpreters import discover
from sesame.sandbox.jail import JailDriver, JailOptions
from sesame.sandbox.plain import Launch

INTERPRETERS = discover()
NO_JAIL = "" if sys.platform == "linux" and os.geteuid() == 0 else "needs Linux and root"
root_only = pytest.mark.skipif(bool(NO_JAIL), reason=NO_JAIL or "-")


def resolve(runtime: str) -> Launch:
    interpreter = INTERPRETERS.get(runtime)
    if interpreter is None:
        raise LookupError(f"no interpreter for {runtime}")
    return Launch(interpreter.path)


@asynccontextmanager
async def jail(state: Path, **options: Any) -> AsyncIterator[JailDriver]:
    driver = JailDriver(resolve, state, JailOptions(**{"ready_cells": 2, **options}))
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()
