"""An environment that has the built wheel and what it declares, and a shell whose commands are typed there.

Used by `test_wheel.py`.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sesame.sandbox.runtimes import places

REPOSITORY = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
COMMAND_TIMEOUT_S = 120
DEBIANS_PYTHON = Path("/usr/bin/python3")
# Where Debian has programs: neither pyenv nor uv is there.
DEBIANS_PATH = "/usr/local/bin:/usr/bin:/bin"


def uv(*arguments: str | Path, **environ: str) -> None:
    done = subprocess.run(
        [UV, *arguments, "--quiet"],
        cwd=REPOSITORY,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


class Installed:
    """A fresh environment outside of the repository, with the wheel and what uv.lock has for its dependencies.

    Made with the distribution's Python where that is new enough, which every user may run; else with that of the tests.
    """

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        # From uv's cache, where `make install` has put everything: no test needs a network.
        uv(
            "sync", "--frozen", "--no-dev", "--extra=demo", "--extra=testing", "--no-install-project",
            f"--python={DEBIANS_PYTHON if debians_python_will_do() else sys.executable}",
            UV_PROJECT_ENVIRONMENT=str(folder / "venv"), VIRTUAL_ENV="",
        )  # fmt: skip
        uv("pip", "install", "--no-deps", f"--python={self.python}", wheel)
        hidden = ("SESAME_", "FC_", "ACCESS_KEY", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "PYTEST_")
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        # Once for all commands, also for those of a user who may not write into the environment.
        self.bytecode = folder / "bytecode"
        self.bytecode.mkdir(mode=0o777)
        self.bytecode.chmod(0o777)
        self.environ["PYTHONPYCACHEPREFIX"] = str(self.bytecode)
        # The packages of the runtimes are large and the same for every Sesame.
        self.environ["SESAME_RUNTIMES_DIR"] = str(places.default_root())

    def popen(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [str(self.python.with_name("sesame")), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=self.environ, stdout=pipe, stderr=pipe, text=True)

    def sesame(self, *arguments: str) -> str:
        process = self.popen(*arguments)
        out, err = process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert process.returncode == 0, out + err
        return out

    def first_in(self, path: str) -> str:
        """A PATH on which the environment's programs come first, as where it is activated."""
        return f"{self.python.parent}:{path}"


class Terminal:
    """Commands typed into bash one after the other; `cd` and `export` last. `before` is what bash is run by."""

    def __init__(self, folder: Path, environ: Mapping[str, str], before: Sequence[str] = ()) -> None:
        self.folder = folder
        self._environ = dict(environ)
        self._before = before
        self._state = folder / ".terminal"

    def run(self, typed: str) -> tuple[int, str]:
        """Its exit status, and what it wrote: results first, then what stands on stderr."""
        state = shlex.quote(str(self._state))
        script = (
            f"[ ! -e {state} ] || . {state}\n{typed}\nended=$?; {{ export -p; echo cd $PWD; }} > {state}; exit $ended"
        )
        done = subprocess.run(
            [*self._before, "bash", "-c", script], cwd=self.folder, env=self._environ, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False,
        )  # fmt: skip
        if self._state.exists():
            self.folder = Path(self._state.read_text().rpartition("cd ")[2].strip())
        return done.returncode, f"{done.stdout}\n{done.stderr}"


def debians_python_will_do() -> bool:
    """Whether the distribution's Python runs Sesame: 3.11 or newer."""
    code = "import sys; sys.exit(sys.version_info < (3, 11))"
    return DEBIANS_PYTHON.exists() and subprocess.run([DEBIANS_PYTHON, "-c", code], check=False).returncode == 0
