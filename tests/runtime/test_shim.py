"""The shim itself: what runs under the functions' interpreters must compile under every one of them."""

import subprocess
from pathlib import Path

import pytest
from tests.support.interpreters import INTERPRETERS

from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS
from sesame.sandbox.shim import SHIM

SOURCES = sorted(SHIM.rglob("*.py"))

_COMPILE = (
    "import sys\nfor path in sys.argv[1:]:\n    compile(open(path).read(), path, 'exec')\nprint(len(sys.argv) - 1)"
)
_IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
before = (sys.stdout, sys.stderr, list(sys.path), sys.getrecursionlimit())
import bootstrap
assert (sys.stdout, sys.stderr, list(sys.path), sys.getrecursionlimit()) == before
import threading
print(threading.active_count())
"""


def run(runtime: str, program: str, *arguments: str) -> str:
    interpreter = INTERPRETERS.get(runtime)
    if interpreter is None:
        pytest.skip(f"no interpreter found for {runtime}")
    command = [str(interpreter.path), "-S", "-B", "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("runtime", MINOR_VERSIONS)
def test_every_file_compiles_without_warnings(runtime: str) -> None:
    assert run(runtime, _COMPILE, *map(str, SOURCES)) == str(len(SOURCES))


@pytest.mark.parametrize("runtime", MINOR_VERSIONS)
def test_importing_the_shim_does_no_work(runtime: str) -> None:
    assert run(runtime, _IMPORT, str(SHIM / "python")) == "1"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_python_2_reads_it_without_a_coding_line(path: Path) -> None:
    assert path.read_bytes().isascii()
