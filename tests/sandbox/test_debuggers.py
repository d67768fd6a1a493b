"""The debuggers of the runtimes: locked with the digest of every file, installed as a layer, asked for by name.

Run by pytest. Nothing is installed here: `sesame runtimes install` did that, or a test is skipped.
"""

import io
import re
import zipfile
from pathlib import Path

import pytest
from tests.support.interpreters import DEBUGGERS

from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.debuggers import Debuggers, lock_files, pin_of
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS, Interpreter


def an_interpreter(runtime: str, version: str) -> Interpreter:
    return Interpreter(runtime, Path("/usr/bin/python"), version, Path("/usr"))


@pytest.mark.parametrize("runtime", MINOR_VERSIONS)
def test_every_runtime_has_a_debugger_locked_by_digests(runtime: str) -> None:
    lock, build = lock_files(an_interpreter(runtime, ".".join(map(str, (*MINOR_VERSIONS[runtime], 1)))))
    assert lock.name == f"{runtime}.debug.txt"
    assert build.is_file()
    assert re.fullmatch(r"debugpy==[0-9.]+", pin_of(lock))
    lines = [line.strip(" \\") for line in lock.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 5
    assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines[1:])


def test_an_interpreter_between_two_runtimes_gets_the_debugger_of_the_older(tmp_path: Path) -> None:
    assert lock_files(an_interpreter("python3", "3.11.2"))[0].name == "python3.10.debug.txt"


def test_a_debugger_that_is_not_installed_is_named_with_the_next_step(tmp_path: Path) -> None:
    debuggers = Debuggers(tmp_path, {"python3.12": an_interpreter("python3.12", "3.12.1")})
    assert not debuggers.installed("python3.12")
    with pytest.raises(ConfigurationError, match=r"sesame runtimes install python3\.12"):
        debuggers.archive("python3.12")
    with pytest.raises(ConfigurationError, match=r"python3\.9 has no interpreter here"):
        debuggers.install("python3.9", lambda _line: None)


@pytest.mark.parametrize("runtime", MINOR_VERSIONS)
def test_what_is_installed_is_a_layer(runtime: str) -> None:
    if not DEBUGGERS.installed(runtime):
        pytest.skip(f"the debugger of {runtime} is not installed")
    names = zipfile.ZipFile(io.BytesIO(DEBUGGERS.archive(runtime))).namelist()
    assert "python/debugpy/__init__.py" in names
    assert all(name.startswith("python/") for name in names)
    assert not any("__pycache__" in name for name in names)
