"""A CPython of this machine becomes a layer: it runs from where it was copied to, with the modules of its library.

Run by pytest.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.interpreters import INTERPRETERS

from sesame.build import python_layer
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes import interpreters, places
from sesame.sandbox.runtimes.interpreters import Interpreter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads programs of Linux")
OWN = sys.version_info[:2]


@pytest.fixture(scope="module")
def own() -> Interpreter:
    found = interpreters.find(OWN, os.environ, places.own_interpreters(places.default_root()))
    assert found is not None, "the tests run on a CPython that can be found"
    return found


def test_it_runs_where_it_was_copied_to(own: Interpreter, tmp_path: Path) -> None:
    libraries = python_layer.lay_out(own, tmp_path)
    name = "python{}.{}".format(*OWN)
    said = subprocess.run(
        [str(tmp_path / name / "bin/python"), "-B", "-E", "-s", "-c",
         "import ctypes, hashlib, json, sqlite3, ssl, sys, zlib; print(sys.prefix, ssl.__file__)"],
        capture_output=True, text=True, check=False, env={"LD_LIBRARY_PATH": str(tmp_path / "lib")},
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    home = tmp_path / name
    assert said.stdout.split() == [str(home), str(next(home.glob(f"lib*/{name}/ssl.py")))]
    assert libraries == len(list((tmp_path / "lib").iterdir())) > 0
    assert os.readlink(home / "bin/python3") == name
    left = {each.name for each in home.rglob("*")}
    assert not left & {"site-packages", "test", "__pycache__", "tkinter"}


def test_a_version_that_no_runtime_has_is_found_too() -> None:
    nowhere = {"PATH": "/nowhere", "HOME": "/nowhere"}
    assert interpreters.find((3, 99), nowhere, Path("/nowhere")) is None


def test_without_its_library_the_next_step_is_said(tmp_path: Path) -> None:
    path = next(iter(INTERPRETERS.values())).path
    alone = Interpreter("custom", path, "3.8.1", tmp_path)
    with pytest.raises(ConfigurationError, match=r"no standard library in .*: install a whole CPython 3\.8\.1"):
        python_layer.lay_out(alone, tmp_path / "layer")
