"""Lends the stage of tests/runtime to the tests of the drivers: same functions, same fixtures.

Read by pytest. Holds nothing of its own.
"""

import importlib.util
from pathlib import Path

_path = Path(__file__).parents[1] / "runtime" / "conftest.py"
_spec = importlib.util.spec_from_file_location("stage_of_functions", _path)
assert _spec is not None
assert _spec.loader is not None
_stage = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_stage)

runtime, driver, stage, until = _stage.runtime, _stage.driver, _stage.stage, _stage.until
