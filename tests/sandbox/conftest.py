"""Lends the stage of tests/runtime to the tests of the drivers: same functions, same fixtures, fewer runtimes.

Read by pytest. Under which runtimes each driver holds the contract is said in tests/runtime/conftest.py.
"""

import importlib.util
from pathlib import Path

import pytest
from tests.support.interpreters import INTERPRETERS, runtimes

_path = Path(__file__).parents[1] / "runtime" / "conftest.py"
_spec = importlib.util.spec_from_file_location("stage_of_functions", _path)
assert _spec is not None
assert _spec.loader is not None
_stage = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_stage)

driver, stage, until = _stage.driver, _stage.stage, _stage.until


@pytest.fixture(scope="module", params=runtimes())
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param not in INTERPRETERS:
        pytest.skip(f"no interpreter found for {request.param}")
    return str(request.param)
