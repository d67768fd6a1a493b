"""Runs a copy of an SDK's pytest suite in an environment of its own, each test with a fixed seed, and gives the report.

Called by `sdk_suite_oss`, `sdk_suite_oss_v2` and `sdk_suite_sls`. Never changes the suite.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

SUITE_TIMEOUT_S = 3000.0
TEST_TIMEOUT_S = 60
# Many tests choose at random, for example between a bucket with a key of their own and one that needs the real KMS.
# With the test's name as the seed, the figures are the same in every run.
SEED_PLUGIN = """
import random

def pytest_runtest_setup(item):
    random.seed(item.nodeid)
"""


@dataclass(frozen=True)
class SuiteRun:
    """`variables` are added to this process's environment. `tracebacks` is the style that pytest's `--tb` takes."""

    suite: Path
    packages: Sequence[str]
    variables: Mapping[str, str]
    chosen: Sequence[str]
    report: Path
    tracebacks: str


def run(what: SuiteRun) -> list[ElementTree.Element]:
    """The `testcase` elements of the report. Exits when the suite did not run; its output has been shown by then."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        sys.exit("error: uv was not found: run `make install`")
    (what.report.parent / "seeded.py").write_text(SEED_PLUGIN)
    command = [uv, "run", "--no-project", "--isolated", "--quiet", "--python", sys.executable]
    for package in what.packages:
        command += ["--with", package]
    command += ["python", "-m", "pytest", "-c", os.devnull, "--rootdir", str(what.suite), "-q"]
    command += [
        "-p",
        "no:cacheprovider",
        "-p",
        "seeded",
        "-o",
        "junit_logging=no",
        "--tb",
        what.tracebacks,
        "--timeout",
        str(TEST_TIMEOUT_S),
    ]
    command += [f"--junitxml={what.report}", *what.chosen]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(what.report.parent)}
    environment |= what.variables
    environment.pop("VIRTUAL_ENV", None)
    subprocess.run(command, cwd=what.suite, env=environment, timeout=SUITE_TIMEOUT_S, check=False)
    if not what.report.exists():
        sys.exit("error: the suite did not run; see above")
    return list(ElementTree.parse(what.report).getroot().iter("testcase"))
