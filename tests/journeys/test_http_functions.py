"""HTTP functions through the endpoint: WSGI by hand, Flask and Django unchanged.

Under the oldest and the newest runtime.
"""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.journeys.conftest import FUNCTIONS, RUNTIMES, Sesame
from tests.support import packages as packages_of_tests
from tests.support.interpreters import INTERPRETERS

ALL = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]
# The newest that each interpreter takes; where that is old, all that comes with them too.
FRAMEWORKS = {
    "python2.7": {"flask": ["flask==1.1.4"], "django": ["django==1.11.29"]},
    "python3": {
        "flask": [
            "flask==2.0.3", "click==8.0.4", "werkzeug==2.0.3", "jinja2==3.0.3", "markupsafe==2.0.1",
            "itsdangerous==2.0.1", "typing-extensions==4.1.1", "importlib-metadata==4.8.3", "zipp==3.6.0",
            "dataclasses==0.8",
        ],
        "django": [
            "django==3.2.25", "asgiref==3.4.1", "sqlparse==0.4.4", "pytz==2023.3", "typing-extensions==4.1.1",
        ],
    },
    "python3.9": {"flask": ["flask>=3,<4"], "django": ["django>=4.2,<5"]},
    "python3.10": {"flask": ["flask>=3,<4"], "django": ["django>=5.2,<6"]},
    "python3.12": {"flask": ["flask>=3,<4"], "django": ["django>=5.2,<6"]},
}  # fmt: skip

OLDER_THAN_UV_KNOWS = ("python2.7", "python3")

Site = Callable[..., requests.Response]


@pytest.fixture
def publish(sesame: Sesame, client: Any, service: str, runtime: str) -> Callable[..., Site]:
    """Deploys a folder as an HTTP function that anyone may visit, and gives what visits it."""

    def make(folder: Path, handler: str, **config: Any) -> Site:
        name = "site"
        options = {"handler": handler, "memorySize": 256, "timeout": 30, "codeDir": str(folder)}
        client.create_function(service, name, runtime=runtime, **options)
        client.create_trigger(service, name, "web", "http", {"authType": "anonymous", "methods": ALL, **config}, "", "")

        def visit(path: str, method: str = "GET", **rest: Any) -> requests.Response:
            url = f"{sesame.endpoint}/2016-08-15/proxy/{service}/{name}{path}"
            return requests.request(method, url, timeout=60, **rest)

        return visit

    return make


def test_a_handler_sees_the_request_and_answers_it(publish: Callable[..., Site], service: str) -> None:
    visit = publish(FUNCTIONS / "journey_web", "index.my_handler")
    answer = visit("/a%20b/%E4%B8%AD?x=1&aaa=&a=%20", "POST", data=bytes(range(256)), headers={"X-Mine": "v"})
    assert (answer.status_code, answer.headers["X-Made-By"]) == (202, "wsgi")
    assert answer.headers["Content-Disposition"] == "attachment"
    seen = answer.json()
    environ = seen["environ"]
    assert environ["PATH_INFO"] in ("/a b/中", "/a b/中".encode().decode("latin-1"))
    assert (environ["QUERY_STRING"], environ["HTTP_X_MINE"]) == ("x=1&aaa=&a=%20", "v")
    assert environ["HTTP_X_FC_BASE_PATH"] == f"/2016-08-15/proxy/{service}/site"
    assert base64.b64decode(seen["body"]) == bytes(range(256))
    assert seen["uri"] == f"/2016-08-15/proxy/{service}/site/a%20b/%E4%B8%AD?x=1&aaa=&a=%20"
    assert seen["request_id"] == answer.headers["X-Fc-Request-Id"]
    assert (seen["function"], seen["visits"]) == ("site", 1)
    assert visit("").json()["visits"] == 2


def test_statuses_repeated_headers_and_bytes(publish: Callable[..., Site]) -> None:
    visit = publish(FUNCTIONS / "journey_web", "index.my_handler")
    teapot = visit("/statuses")
    assert (teapot.status_code, teapot.content) == (418, b"short and stout")
    assert teapot.headers["Set-Cookie"] == "a=1, b=2"
    assert "X-Fc-Mine" not in teapot.headers
    assert visit("/binary").content == bytes(range(256))
    assert visit("/binary", "HEAD").content == b""


def test_a_raising_handler_is_502(publish: Callable[..., Site]) -> None:
    visit = publish(FUNCTIONS / "journey_web", "index.my_handler")
    failed = visit("/raises")
    assert (failed.status_code, failed.headers["Content-Type"]) == (502, "application/json")
    body = failed.json()
    assert (body["errorMessage"], body["errorType"], "ErrorCode" in body) == ("no such visit", "ValueError", False)
    assert visit("/").status_code == 202


def test_headers_and_paths_in_any_encoding(publish: Callable[..., Site], runtime: str) -> None:
    """Bytes come and go as they were sent; what cannot be sent is a 502 with its reason, and the instance goes on."""
    visit = publish(FUNCTIONS / "strings", "index.web")
    gbk = "你好".encode("gbk")
    assert visit("/?gbk").headers["X-Text"].encode("latin-1") == gbk
    assert visit("/?utf8").headers["X-Text"].encode("latin-1") == "你好".encode()
    lone = visit("/?lone")
    assert lone.status_code == (200 if runtime == "python2.7" else 502)
    injected = visit("/?newline")
    assert (injected.status_code, "Injected" in injected.headers) == (502, False)
    assert "has characters that are not allowed in headers" in injected.json()["errorMessage"]
    assert visit("/?number").headers["X-Text"] == "5"


def test_a_custom_domain(publish: Callable[..., Site], sesame: Sesame, client: Any, service: str) -> None:
    publish(FUNCTIONS / "journey_web", "index.my_handler")
    host = f"{service}.example.com"
    routes = {"routes": [{"path": "/shop/*", "serviceName": service, "functionName": "site"}]}
    client.create_custom_domain(host, "HTTP", routes)
    answer = requests.get(sesame.endpoint + "/shop/a?b=1", headers={"Host": host}, timeout=60)
    assert "Content-Disposition" not in answer.headers
    assert answer.json()["environ"]["PATH_INFO"] == "/shop/a"
    client.delete_custom_domain(host)
    assert requests.get(sesame.endpoint + "/shop/a", headers={"Host": host}, timeout=60).status_code == 400


# One of the oldest kind in `make test`, one of the newest by `make test-all`, all others by `make torture`.
TIERS = {("flask", RUNTIMES[0]): (), ("django", RUNTIMES[-1]): (pytest.mark.thorough,)}
PAIRS = [
    pytest.param(
        *runtime.values,
        framework,
        marks=[*runtime.marks, *TIERS.get((framework, runtime), (pytest.mark.torture,))],
    )
    for framework in ("flask", "django")
    for runtime in RUNTIMES
]


@pytest.mark.parametrize(("runtime", "framework"), PAIRS)
def test_frameworks_unchanged(publish: Callable[..., Site], runtime: str, framework: str, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    install(runtime, FRAMEWORKS[runtime][framework], folder)
    shutil.copy(FUNCTIONS / f"journey_{framework}" / "index.py", folder)
    visit = publish(folder, "index.app")
    page = visit("/hello/w%C3%B6rld?a=1&a=2", "POST", data={"field": "中"}, cookies={"who": "me"})
    assert page.status_code == 200, page.text
    assert json.loads(page.text) == {
        "name": "wörld",
        "args": ["1", "2"],
        "form": "中",
        "cookie": "me",
        "function": "site",
    }
    assert page.headers["Set-Cookie"].startswith("seen=yes")
    image = visit("/bytes", "POST", data=b"\x89PNG\x00\xff")
    assert (image.status_code, image.content) == (201, b"\x89PNG\x00\xff")
    assert image.headers["Content-Type"] == "image/png"
    assert visit("/nothing").status_code == 404


def install(runtime: str, packages: list[str], folder: Path) -> None:
    """As pip installs them under this interpreter; skips, saying why, where they cannot be had."""
    python = str(INTERPRETERS[runtime].path)
    packages_of_tests.install(python, packages, folder, uv_knows=runtime not in OLDER_THAN_UV_KNOWS)
