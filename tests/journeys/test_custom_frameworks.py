"""What people run as custom runtimes: Flask under gunicorn, FastAPI under uvicorn, a program in C with no library.

Each is started by what its package holds, and called with events and from the web.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import fc2
import pytest
import requests
from tests.journeys.conftest import FUNCTIONS, Sesame, running
from tests.support import packages

TIMEOUT_S = 60
# The bootstraps name it, as instances see the system's programs.
PYTHON = "/usr/bin/python3"
needs_python = pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"there is no {PYTHON}, which instances would see")


@pytest.fixture(scope="module")
def sesame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    """With one interpreter: none of these functions is Python's."""
    with running(tmp_path_factory.mktemp("sesame"), runtime="python3") as server:
        yield server


Publish = Callable[[Path], Callable[..., requests.Response]]


@pytest.fixture
def publish(sesame: Sesame, client: fc2.Client, service: str) -> Publish:
    """Deploys a folder as function `site`, and gives what visits it from the web."""

    def make(folder: Path) -> Callable[..., requests.Response]:
        client.create_function(
            service, "site", runtime="custom.debian12", handler="not-used", codeDir=str(folder), memorySize=512,
            timeout=30, instanceConcurrency=4,
        )  # fmt: skip
        config = {"authType": "anonymous", "methods": ["GET", "POST"]}
        client.create_trigger(service, "site", "web", "http", config, "", "")

        def visit(path: str, method: str = "GET", **rest: object) -> requests.Response:
            url = f"{sesame.endpoint}/2016-08-15/proxy/{service}/site{path}"
            return requests.request(method, url, timeout=TIMEOUT_S, **rest)  # type: ignore[arg-type]

        return visit

    return make


def invoked(client: fc2.Client, service: str, event: bytes) -> tuple[object, str]:
    """What a framework says of an event, and the id of the request."""
    done = client.invoke_function(service, "site", event)
    return json.loads(done.data), done.headers["X-Fc-Request-Id"]


@pytest.mark.thorough
@needs_python
def test_flask_under_gunicorn(client: fc2.Client, service: str, publish: Publish, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    packages.install(PYTHON, ["flask>=3,<4", "gunicorn>=23,<24"], folder)
    shutil.copytree(FUNCTIONS / "custom_flask", folder, dirs_exist_ok=True)
    visit = publish(folder)
    answer, request_id = invoked(client, service, b"an event")
    assert answer == {"event": "an event", "request": request_id}
    assert visit("/hello/w%C3%B6rld?greeting=good+day").text == "good day wörld"
    broken = visit("/broken")
    assert (broken.status_code, "Internal Server Error" in broken.text) == (500, True)
    assert visit("/nowhere").status_code == 404


@needs_python
def test_fastapi_under_uvicorn(client: fc2.Client, service: str, publish: Publish, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    packages.install(PYTHON, ["fastapi>=0.115,<1", "uvicorn>=0.35,<1"], folder)
    shutil.copytree(FUNCTIONS / "custom_fastapi", folder, dirs_exist_ok=True)
    visit = publish(folder)
    answer, request_id = invoked(client, service, b"an event")
    assert answer == {"event": "an event", "request": request_id}
    assert visit("/hello/w%C3%B6rld").json() == "hello wörld"
    assert visit("/orders", "POST", json={"item": "tea", "count": 2}).json() == {"ordered": "2 x tea"}
    assert visit("/orders", "POST", json={"count": "many"}).status_code == 422
    assert visit("/openapi.json").json()["openapi"].startswith("3.")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc to compile the program with")
def test_a_static_program(client: fc2.Client, service: str, publish: Publish, tmp_path: Path) -> None:
    source = FUNCTIONS / "custom_c" / "server.c"
    command = ["gcc", "-static", "-O1", "-D_GNU_SOURCE", "-o", str(tmp_path / "bootstrap"), str(source)]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if compiled.returncode != 0 and "-lc" in compiled.stderr:
        pytest.skip("there is no static C library to link with")
    assert compiled.returncode == 0, compiled.stderr
    visit = publish(tmp_path)
    assert client.invoke_function(service, "site", b"an event").data == b"AN EVENT"
    assert visit("/", "POST", data=b"x" * 100_000).text == "X" * 100_000
