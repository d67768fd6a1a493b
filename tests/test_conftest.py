"""The skip list names what did not run, and in continuous integration nothing is skipped; who is alone is alone."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SKIPPING = "import pytest\ndef test_runs(): assert True\n@pytest.mark.skip(reason='no python9')\ndef test_not(): ...\n"
UNREADABLE = "import pytest\npytest.skip('no python9', allow_module_level=True)\n"
PARALLEL = ["-n", "2", "--dist", "loadfile"]

# Each test says when it ran; those of the first file ask to be alone.
TIMED = """
import pathlib, time, pytest
{mark}
@pytest.mark.parametrize("number", range(8))
def test_some_time(number):
    began = time.monotonic()
    while time.monotonic() < began + 0.03:
        pass
    with open({file!r}, "a") as file:
        file.write("%s %s %s\\n" % ({name!r}, began, time.monotonic()))
"""


@pytest.mark.parametrize(
    ("options", "environ", "code"),
    [
        ([], {}, 0),
        ([], {"CI": "true"}, 1),
        ([], {"CI": "true", "ALLOWED_SKIPS": "no python"}, 0),
        (PARALLEL, {"CI": "true"}, 1),
    ],
    ids=["at home", "in ci", "in ci, allowed", "in ci, parallel"],
)
def test_a_skip_is_named_and_in_ci_it_fails_the_run(
    tmp_path: Path, options: list[str], environ: dict[str, str], code: int
) -> None:
    (tmp_path / "test_it.py").write_text(SKIPPING)
    done = pytest_in(tmp_path, *options, **environ)
    assert done.returncode == code, done.stdout
    assert "did not run" in done.stdout
    assert "no python9: 1 tests, as test_it.py::test_not" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("options", [[], PARALLEL], ids=["one process", "parallel"])
def test_a_file_that_is_skipped_whole_is_named_once(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "test_it.py").write_text(UNREADABLE)
    (tmp_path / "test_other.py").write_text("def test_runs(): assert True\n")
    done = pytest_in(tmp_path, *options, CI="true")
    assert done.returncode == 1, done.stdout
    assert "no python9: 1 tests, as test_it.py" in done.stdout


def test_who_asks_to_be_alone_is_alone(tmp_path: Path) -> None:
    times = tmp_path / "times"
    for name, mark in (("loner", "@pytest.mark.alone"), ("other", "")):
        (tmp_path / f"test_{name}.py").write_text(TIMED.format(mark=mark, file=str(times), name=name))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  alone: by itself\n")
    done = pytest_in(tmp_path, *PARALLEL)
    assert done.returncode == 0, done.stdout
    spans = [
        (name, float(began), float(ended)) for name, began, ended in map(str.split, times.read_text().splitlines())
    ]
    assert len(spans) == 16
    for loner, began, ended in spans:
        if loner == "loner":
            assert all(end <= began or begin >= ended for name, begin, end in spans if name == "other")
    in_order = "".join(name[0] for name, _, _ in sorted(spans, key=lambda span: span[1]))
    assert "l" * 8 in in_order, in_order


@pytest.mark.parametrize("name", ["ALONE", "LONGEST"])
def test_every_file_that_is_named_exists(name: str) -> None:
    found = re.search(rf"^{name} = (\(.*?^\))", (HERE / "conftest.py").read_text(), re.S | re.M)
    assert found is not None
    named = ast.literal_eval(found[1])
    assert named
    assert all((HERE / name).is_file() for name in named)


def pytest_in(folder: Path, *options: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Runs the tests of a folder as ours are run, but for what this run itself was told."""
    shutil.copy(HERE / "conftest.py", folder / "conftest.py")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "ALLOWED_SKIPS") and not name.startswith("PYTEST_")
    }
    # Without the plugins that are not needed it starts sooner.
    kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # Our conftest imports fixtures of `tests.support`.
    kept["PYTHONPATH"] = str(HERE.parent)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist", *options, str(folder)],
        cwd=folder, env=kept | environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
