"""The wheel, built once and installed into a fresh environment that has only what it declares: it runs by itself."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sesame import __version__
from sesame.cli import version
from sesame.sandbox.runtimes import places

REPOSITORY = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
STARTED_WITHIN_S = 60
COMMAND_TIMEOUT_S = 120


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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source archive, as an index would have it."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--no-build-isolation", "--out-dir", folder)
    (built,) = folder.glob("*.whl")
    return built


class Installed:
    """A fresh environment outside of the repository, with the wheel and what uv.lock has for its dependencies."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        # From uv's cache, where `make install` has put everything: no test needs a network.
        uv(
            "sync", "--frozen", "--no-dev", "--extra=demo", "--no-install-project", f"--python={sys.executable}",
            UV_PROJECT_ENVIRONMENT=str(folder / "venv"), VIRTUAL_ENV="",
        )  # fmt: skip
        uv("pip", "install", "--no-deps", f"--python={self.python}", wheel)
        hidden = ("SESAME_", "FC_", "ACCESS_KEY", "PYTHONPATH", "VIRTUAL_ENV")
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
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


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture
def server(installed: Installed) -> Iterator[Installed]:
    """`sesame start` in the environment's folder, as deploy/Containerfile starts it but for its ports and address."""
    process = installed.popen("start", "--port=0", "--oss-port=0", "--sandbox=plain")
    ready = installed.folder / "sesame-data" / "endpoints.json"
    deadline = time.monotonic() + STARTED_WITHIN_S
    while not ready.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.02)
    yield installed
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=COMMAND_TIMEOUT_S)


def test_the_wheel_has_everything_that_is_no_python_module_too(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name.removeprefix("sesame/") for name in archive.namelist()}
    tracked = subprocess.run(
        ["git", "ls-files", "src/sesame"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.split()
    missing = {name.removeprefix("src/sesame/") for name in tracked if (REPOSITORY / name).exists()} - packed
    assert not missing
    for needed in ("py.typed", "runtime/python/main.py", "runtime/jail/seccomp/x86_64.bpf"):
        assert needed in packed
    assert any(name.startswith("sandbox/runtimes/constraints/") for name in packed)
    assert any(name.startswith("store/sql/migrations/") for name in packed)
    assert not any("__pycache__" in name for name in packed)


def test_the_wheel_says_which_commit_it_was_built_from(installed: Installed) -> None:
    commit = version.commit_checked_out(REPOSITORY)
    expected = f"{__version__} (commit {commit})" if commit else __version__
    assert installed.sesame("--version") == f"sesame {expected}\n"


def test_a_function_is_deployed_and_called_by_the_wheel_alone(server: Installed) -> None:
    assert "sandbox plain" in server.sesame("status")
    source = server.folder / "hello"
    source.mkdir()
    (source / "main.py").write_text("def handler(event, context):\n    return b'hello ' + event\n")
    server.sesame("deploy", "hello", "--name", "demo/hello", "--runtime", "python3")
    assert server.sesame("invoke", "demo/hello", "-e", "wheel").strip() == "hello wheel"
    assert [each["serviceName"] for each in json.loads(server.sesame("list", "--json"))["services"]] == ["demo"]


def test_the_demo_runs_from_the_wheel(installed: Installed) -> None:
    assert "came back as the manual says" in installed.sesame("demo")
