"""`sesame top`: what it prints of a server's metrics, and what it says where there are none."""

import json
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path

import pytest
from tests.metrics.test_scrape import scrape
from tests.support.command_line import sesame
from tests.support.web_servers import Quiet, serving


class _Answers(Quiet):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)


@pytest.fixture
def url() -> Iterator[str]:
    with serving(HTTPServer(("127.0.0.1", 0), _Answers)) as url:
        yield f"{url}/metrics"


async def test_one_table_has_a_line_for_each_function(url: str) -> None:
    name = "f" * 64
    _Answers.body = (await scrape().take("")).body.replace(b'function="f"', f'function="{name}"'.encode())
    said = sesame("top", "--once", "--url", url).stdout
    heading, line, *_rest = said.splitlines()
    assert " ".join(heading.split()) == "FUNCTION CALLS ERRORS THROTTLED COLD P50 MS P95 MS MEMORY MB INSTANCES"
    assert line.split()[:5] == [f"s/{name}", "4", "1", "0", "1"]
    assert "2 busy" in line
    assert "8 asynchronous invocations wait, the oldest for 12 s" in said
    document = json.loads(sesame("top", "--once", "--json", "--url", url).stdout)
    assert document["functions"][0]["calls"] == 4
    assert document["functions"][0]["callsPerS"] is None


async def test_a_proxy_of_the_environment_is_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    _Answers.body = (await scrape().take("")).body
    assert sesame("top", "--once", "--url", url).stdout.startswith("FUNCTION")


def test_what_is_no_metrics_is_told(url: str) -> None:
    _Answers.body = b"<html>"
    assert "does not return metrics of a Sesame" in sesame("top", "--once", "--url", url, expect=1).stderr


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:1/metrics", "is the server running?"),
        ("127.0.0.1:9102", "expected one such as http://127.0.0.1:9102/metrics"),
        ("file:///etc/passwd", "expected one such as"),
        ("http://[", "expected one such as"),
        (f"http://{'a' * 64}/metrics", "no metrics came from"),
    ],
)
def test_an_address_without_metrics_is_told(url: str, says: str) -> None:
    assert says in sesame("top", "--once", "--url", url, expect=1).stderr


def test_where_no_server_runs_that_is_told(tmp_path: Path) -> None:
    assert "no Sesame runs" in sesame("top", "--once", "--data-dir", tmp_path, expect=1).stderr
