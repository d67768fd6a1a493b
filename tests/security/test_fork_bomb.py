"""A fork bomb of an ordinary user's instance: it ends with its call, and what a neighbour waits is printed.

On a quiet machine a neighbour is to wait at most 0.5 s, and the bomb to have ended 1 s after its time.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail_only

pytestmark = [jail_only, pytest.mark.torture]

ROOT = Path(__file__).parents[2]
BOMB = "tests/security/fork_bomb.py"


@pytest.mark.skipif("python3.12" not in INTERPRETERS, reason="no interpreter found for python3.12")
def test_it_ends_and_its_neighbour_goes_on() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CI"))}
    pytest_of_it = [sys.executable, "-B", "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
    with tempfile.TemporaryDirectory(prefix="nobody-") as folder:
        # Of nobody, who runs it.
        Path(folder).chmod(0o777)
        done = subprocess.run(
            [ROOT / "scripts" / "as-nobody", *pytest_of_it, BOMB, "--basetemp", f"{folder}/run"],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    measured = [line for line in done.stdout.splitlines() if line.startswith("fork bomb of")]
    assert measured
    print("\n".join(measured))
