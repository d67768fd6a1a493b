"""A new project of each kind is deployed and called, as its README says."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from tests.journeys.conftest import RUNTIMES, Sesame, newest, wait_until
from tests.journeys.test_http_functions import install
from tests.support import command_line, plain_pytest

OLD_AND_NEW = pytest.mark.parametrize("runtime", newest([RUNTIMES[0], RUNTIMES[-1]]))
Command = Callable[..., command_line.Done]


@pytest.fixture(scope="module")
def sesame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    server = Sesame(tmp_path_factory.mktemp("new"), runtime=("python2.7", "python3.12"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def run(sesame: Sesame) -> Command:
    """Runs a command at this server."""
    return lambda *arguments: command_line.sesame(*arguments, "--data-dir", sesame.data_dir)


@pytest.fixture
def start(tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Starts a project of a kind, makes its folder the working directory, and gives its function's name."""

    def start(kind: str) -> str:
        folder = tmp_path / f"{kind}-{runtime.replace('.', '-')}"
        made = json.loads(command_line.sesame("new", folder, "--kind", kind, "--runtime", runtime, "--json").stdout)
        monkeypatch.chdir(folder)
        return f"{made['service']}/{made['function']}"

    return start


@OLD_AND_NEW
def test_an_event_function(run: Command, start: Callable[[str], str]) -> None:
    name = start("event")
    assert f"+ function {name}" in run("deploy").stdout
    said = run("invoke", name, "-f", "event.json")
    assert json.loads(said.stdout) == {"greeting": "Hello Ada"}
    assert "[INFO]" in said.stderr
    assert "greeting Ada in request" in said.stderr


@OLD_AND_NEW
def test_a_timer(run: Command, start: Callable[[str], str]) -> None:
    name = start("timer")
    assert f"+ trigger {name}/every-5-minutes (timer)" in run("deploy").stdout
    assert run("invoke", name, "-f", "event.json").stdout.strip() == "clean up"
    assert run("triggers", "fire", f"{name}/every-5-minutes").returncode == 0


@OLD_AND_NEW
def test_an_object(run: Command, start: Callable[[str], str], sesame: Sesame, monkeypatch: pytest.MonkeyPatch) -> None:
    name = start("oss")
    endpoint = json.loads(run("env", "--format", "json").stdout)["OSS_ENDPOINT"]
    monkeypatch.setenv("OSS_ENDPOINT", endpoint)
    bucket = f"{name.partition('/')[0]}-in"
    run("buckets", "make", bucket)
    assert f"+ trigger {name}/put (oss)" in run("deploy").stdout
    run("buckets", "put", "README.md", f"{bucket}/in/readme.md")

    def written() -> bool:
        return "out/readme.md.json" in run("buckets", "list", f"{bucket}/out/").stdout

    wait_until(written, "the function's object", timeout_s=60.0)
    run("buckets", "get", f"{bucket}/out/readme.md.json", "found.json")
    content = Path("README.md").read_bytes()
    assert json.loads(Path("found.json").read_text()) == {"lines": content.count(b"\n"), "bytes": len(content)}


@pytest.mark.thorough
@OLD_AND_NEW
def test_a_flask_application(run: Command, start: Callable[[str], str], runtime: str) -> None:
    name = start("http")
    install(runtime, Path("code/requirements.txt").read_text().split(), Path("code"))
    said = run("deploy")
    (url,) = [line.removeprefix("Call it: ") for line in said.stderr.splitlines() if "/proxy/" in line]
    assert url.endswith(f"/{name}/")
    answer = requests.post(f"{url}hello/Ada", data="good morning", timeout=60)
    assert answer.json() == {"greeting": "Hello Ada", "said": "good morning"}
    assert requests.get(url, timeout=60).json()["service"] == name.partition("/")[0]
    if runtime != "python2.7":
        # The packages beside the code are pure Python, so that this interpreter can have them too.
        command = [sys.executable, "-m", "pytest", "-q", *plain_pytest.OPTIONS, "tests"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout
