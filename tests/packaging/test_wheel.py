"""The wheel, built once and installed into a fresh environment that has only what it declares: it runs by itself."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.follow import follow
from tests.packaging.installed import (
    COMMAND_TIMEOUT_S,
    DEBIANS_PATH,
    REPOSITORY,
    Installed,
    Terminal,
    debians_python_will_do,
    uv,
)
from tests.support.dap import DapClient

from sesame import __version__
from sesame.cli import version

STARTED_WITHIN_S = 60
NOBODY = "65534"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source archive, as an index would have it."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--no-build-isolation", "--out-dir", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Iterator[Installed]:
    """In a folder that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="installed-") as folder:
        Path(folder).chmod(0o755)
        yield Installed(wheel, Path(folder))


def wait_for(ready: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + STARTED_WITHIN_S
    while not ready.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {ready} in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server(installed: Installed) -> Iterator[Installed]:
    """`sesame start` in the environment's folder, as deploy/Containerfile starts it but for its ports and address."""
    process = installed.popen("start", "--port=0", "--oss-port=0", "--sandbox=plain")
    wait_for(installed.folder / "sesame-data" / "endpoints.json", process)
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


@pytest.mark.thorough
def test_the_demo_runs_from_the_wheel(installed: Installed) -> None:
    assert "came back as the manual says" in installed.sesame("demo")


@pytest.mark.thorough
def test_the_tutorial_can_be_followed_with_the_wheel_alone(server: Installed) -> None:
    folder = server.folder / "tutorial"
    folder.mkdir()
    environ = {
        **server.environ, "PATH": server.first_in(server.environ["PATH"]), "NO_COLOR": "1", "COLUMNS": "200",
        "SESAME_DATA_DIR": str(server.folder / "sesame-data"),
    }  # fmt: skip
    text = (REPOSITORY / "docs" / "tutorial.md").read_text()
    follow("docs/tutorial.md", text, Terminal(folder, environ))


@pytest.mark.thorough
def test_a_breakpoint_is_hit_with_the_wheel_alone(installed: Installed) -> None:
    """The tutorial's step that a page cannot show: an editor attaches as `.vscode/launch.json` says."""
    folder = installed.folder / "debugged"
    folder.mkdir()
    (folder / "main.py").write_text("def handler(event, context):\n    got = event.decode()\n    return got * 2\n")
    process = installed.popen(
        "invoke", "main.handler", "--code", str(folder), "-e", "ab", "--debug", "--debug-port", "0",
        "--runtime", "python3.12", "--sandbox", "plain",
    )  # fmt: skip
    try:
        launch = installed.folder / ".vscode" / "launch.json"
        wait_for(launch, process)
        (found,) = json.loads(launch.read_text())["configurations"]
        debugger = DapClient(found["connect"]["port"])
        debugger.attach({str(folder): found["pathMappings"][0]["remoteRoot"]}, {str(folder / "main.py"): [3]})
        stopped = debugger.event("stopped")
        assert stopped["reason"] == "breakpoint"
        # Unanswered where the call, and the debugger with it, ends first.
        debugger.send("continue", {"threadId": stopped["threadId"]})
        out, err = process.communicate(timeout=COMMAND_TIMEOUT_S)
        debugger.close()
        assert (process.returncode, out.strip()) == (0, "abab"), err
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
@pytest.mark.skipif(not debians_python_will_do(), reason="/usr/bin/python3 is not there, or older than 3.11")
def test_the_readme_can_be_followed_by_an_ordinary_user_on_a_plain_debian(installed: Installed) -> None:
    """Without pyenv, uv and the packages of the runtimes: with the distribution's own Python and a new home."""
    home = installed.folder / "home"
    home.mkdir()
    os.chown(home, int(NOBODY), int(NOBODY))
    environ = {
        "PATH": installed.first_in(DEBIANS_PATH), "HOME": str(home), "LANG": "C.UTF-8", "NO_COLOR": "1",
        "COLUMNS": "200", "PYTHONPYCACHEPREFIX": str(installed.bytecode),
    }  # fmt: skip
    as_nobody = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups")
    page = (REPOSITORY / "README.md").read_text()
    minutes = page.partition("## Five minutes\n")[2].partition("\n## ")[0]
    starting = [*as_nobody, "sesame", "start", "--port=0", "--oss-port=0"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(starting, cwd=home, env=environ, stdout=pipe, stderr=pipe, text=True)
    try:
        wait_for(home / "sesame-data" / "endpoints.json", process)
        follow("README.md", minutes, Terminal(home, environ, as_nobody))
        said = Terminal(home, environ, as_nobody).run("sesame status")[1]
        assert "running   process" in said
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=COMMAND_TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == 0
