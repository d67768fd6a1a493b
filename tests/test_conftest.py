"""The skip list: what did not run is named at the end, and continuous integration skips nothing unless allowed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = "import pytest\ndef test_runs(): assert True\n@pytest.mark.skip(reason='no python9')\ndef test_not(): ...\n"


@pytest.mark.parametrize(
    ("environ", "code"),
    [({}, 0), ({"CI": "true"}, 1), ({"CI": "true", "ALLOWED_SKIPS": "no python"}, 0)],
    ids=["at home", "in ci", "in ci, allowed"],
)
def test_a_skip_is_named_and_in_ci_it_fails_the_run(tmp_path: Path, environ: dict[str, str], code: int) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path / "conftest.py")
    (tmp_path / "test_it.py").write_text(SKIPPING)
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ALLOWED_SKIPS")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path, env=kept | environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    assert "did not run" in done.stdout
    assert "no python9: 1 tests, as test_it.py::test_not" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout.splitlines()[-1]
