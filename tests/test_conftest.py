"""The skip list names what did not run, and in continuous integration nothing is skipped; who is alone is alone."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
from tests import conftest

HERE = Path(__file__).parent
FILES = {
    "test_it.py": "import pytest\ndef test_runs(): ...\n@pytest.mark.skip(reason='no python9')\ndef test_not(): ...\n",
    "test_whole.py": "import pytest\npytest.skip('no python8', allow_module_level=True)\n",
    "test_other.py": "def test_runs(): assert True\n",
}

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
    ("environ", "code"),
    [({}, 0), ({"CI": "true"}, 1), ({"CI": "true", "ALLOWED_SKIPS": "no python"}, 0)],
    ids=["at home", "in ci", "in ci, allowed"],
)
def test_a_skip_is_named_and_in_ci_it_fails_the_run(tmp_path: Path, environ: dict[str, str], code: int) -> None:
    done = pytest_in(tmp_path, FILES, **environ)
    assert done.returncode == code, done.stdout
    assert_skips_are_named(done.stdout)
    assert "2 passed, 2 skipped" in done.stdout.splitlines()[-1]


def assert_skips_are_named(said: str) -> None:
    """Each once, whichever process found it."""
    assert "did not run" in said
    assert said.count("no python9: 1 tests, as test_it.py::test_not") == 1
    assert said.count("no python8: 1 tests, as test_whole.py") == 1


def test_in_parallel_skips_are_named_as_well_and_who_asks_to_be_alone_is_alone(tmp_path: Path) -> None:
    times = tmp_path / "times"
    timed = {
        f"test_{name}.py": TIMED.format(mark=mark, file=str(times), name=name)
        for name, mark in (("loner", "@pytest.mark.alone"), ("other", ""))
    }
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  alone: by itself\n")
    done = pytest_in(tmp_path, {**FILES, "test_other.py": timed.pop("test_other.py"), **timed}, "-n", "2", CI="true")
    assert done.returncode == 1, done.stdout
    assert_skips_are_named(done.stdout)
    assert "17 passed, 2 skipped" in done.stdout.splitlines()[-1]
    spans = [
        (name, float(began), float(ended)) for name, began, ended in map(str.split, times.read_text().splitlines())
    ]
    assert len(spans) == 16
    for loner, began, ended in spans:
        if loner == "loner":
            assert all(end <= began or begin >= ended for name, begin, end in spans if name == "other")
    in_order = "".join(name[0] for name, _, _ in sorted(spans, key=lambda span: span[1]))
    assert "l" * 8 in in_order, in_order


class Collected:
    """What an order is made of."""

    def __init__(self, name: str) -> None:
        self.path = HERE / name
        self.marks: list[str] = []

    def add_marker(self, mark: str) -> None:
        self.marks.append(mark)


def test_the_longest_come_first_and_who_is_alone_last() -> None:
    order = [*conftest.LONGEST[:2], "a/test_short.py", "b/test_short.py", conftest.ALONE[0]]
    items = [Collected(order[number]) for number in (4, 2, 1, 3, 0)]
    conftest.pytest_collection_modifyitems(cast(list[pytest.Item], items))
    assert [item.path for item in items] == [HERE / name for name in order]
    assert [item.marks for item in items] == [[], [], [], [], ["alone"]]


@pytest.mark.parametrize("name", ["ALONE", "LONGEST"])
def test_every_file_that_is_named_exists(name: str) -> None:
    found = re.search(rf"^{name} = (\(.*?^\))", (HERE / "conftest.py").read_text(), re.S | re.M)
    assert found is not None
    named = ast.literal_eval(found[1])
    assert named
    assert all((HERE / name).is_file() for name in named)


def pytest_in(folder: Path, files: dict[str, str], *options: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Runs these tests in a folder as ours are run, but for what this run itself was told."""
    for name, text in files.items():
        (folder / name).write_text(text)
    shutil.copy(HERE / "conftest.py", folder / "conftest.py")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "ALLOWED_SKIPS") and not name.startswith("PYTEST_")
    }
    # Without the plugins that are not needed it starts sooner.
    kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # Our conftest imports fixtures from `tests.support`.
    kept["PYTHONPATH"] = str(HERE.parent)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist", "--dist=loadfile"]
    return subprocess.run(
        [*command, *options, str(folder)],
        cwd=folder, env=kept | environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
