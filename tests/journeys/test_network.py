"""A whole Sesame whose functions have networks of their own: what they reach of this machine, and what they do not."""

import functools
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.conftest import ACCOUNT_ID, REGION, Deploy, Sesame, running
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail_only
from tests.support.outside import needs_outside, outside

pytestmark = jail_only
RUNTIME = "python3.12"


class Greeting(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"of the host")

    def log_message(self, *_arguments: Any) -> None:
        """Not on the terminal."""


@pytest.fixture(scope="module")
def services() -> Iterator[tuple[int, int]]:
    """The ports of two web servers on this machine's loopback."""
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greeting) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield servers[0].server_port, servers[1].server_port
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, services: tuple[int, int]) -> Iterator[Sesame]:
    if RUNTIME not in INTERPRETERS:
        pytest.skip(f"no interpreter for {RUNTIME}")
    flags = ("--network", "egress", "--network-allow", f"127.0.0.1:{services[0]}")
    with running(tmp_path_factory.mktemp("network"), *flags, runtime=RUNTIME) as started:
        yield started


@pytest.fixture(scope="module")
def deployed(server: Sesame) -> Callable[[str], Callable[..., Any]]:
    """What calls a handler of the function `network`."""
    client = server.client()
    client.create_service("network")
    deploy = Deploy(client, "network", RUNTIME)
    return functools.cache(lambda handler: deploy("network", name=handler, handler=f"index.{handler}"))


def oss_of(server: Sesame) -> str:
    return str(json.loads((server.data_dir / "endpoints.json").read_text())["oss"])


def test_what_functions_reach(server: Sesame, services: tuple[int, int], deployed: Any) -> None:
    fetch, get = deployed("fetch"), deployed("get")

    def fetched(url: str) -> list[Any]:
        return list(json.loads(fetch(url.encode()).data))

    # Sesame's endpoints, and what is allowed by name, at the addresses that they have on this machine.
    assert fetched(f"{server.endpoint}/openapi.json")[0] == 200
    status, body = fetched(oss_of(server))
    assert (status, "<Code>AccessDenied</Code>" in body) == (403, True)
    allowed, other = services
    assert fetched(f"http://127.0.0.1:{allowed}/") == [200, "of the host"]
    assert get(f"http://localhost:{allowed}/".encode()).data == b"of the host"
    # Nothing else, whatever the address is called.
    reach = deployed("reach")
    for host in ("127.0.0.1", "::1", "0.0.0.0", "127.0.0.2", "::ffff:127.0.0.1"):
        assert "refused" in json.loads(reach(json.dumps({"host": host, "port": other}).encode()).data)
    for host in ("169.254.169.254", "100.100.100.200", "10.0.0.1", "192.168.1.1", "::ffff:10.0.0.1"):
        told = json.loads(reach(json.dumps({"host": host, "port": other}).encode()).data)
        # Refused at once, or not to be reached at all where the proxy alone leads out.
        assert "Permission denied" in told or "unreachable" in told, host


@needs_outside
def test_any_protocol_gets_out_by_itself(server: Sesame, deployed: Any) -> None:
    talk = deployed("talk")
    with outside() as beyond:
        for by in ("tcp", "udp"):
            host, port = beyond.there.addresses[0], getattr(beyond.there, by)
            told = json.loads(talk(json.dumps({"by": by, "host": host, "port": port}).encode()).data)
            assert told.get("said") == "there hello", told


def test_names_of_the_cloud_lead_here(server: Sesame, deployed: Any) -> None:
    fetch = deployed("fetch")
    for name, path, said in (
        (f"{ACCOUNT_ID}.{REGION}-internal.fc.aliyuncs.com", "openapi.json", '"openapi"'),
        (f"{ACCOUNT_ID}.{REGION}.fc.aliyuncs.com", "openapi.json", '"openapi"'),
        (f"bucket.oss-{REGION}.aliyuncs.com", "", "<Code>"),
        (f"project.{REGION}-intranet.log.aliyuncs.com", "logstores", '"errorCode"'),
    ):
        for scheme in ("http", "https"):
            _status, body = json.loads(fetch(f"{scheme}://{name}/{path}".encode()).data)
            assert said in body, (scheme, name)
    # Not what is the host's: its own resolution knows nothing of it.
    reach = deployed("reach")
    told = json.dumps({"host": f"oss-{REGION}.aliyuncs.com", "port": 443}).encode()
    assert json.loads(reach(told).data) is True
    told = json.dumps({"host": f"oss-{REGION}.aliyuncs.com", "port": 444}).encode()
    assert json.loads(reach(told).data) is not True


def test_functions_listen_on_the_same_port(server: Sesame, deployed: Any, tmp_path: Path) -> None:
    listen = deployed("listen")
    assert json.loads(listen(b'{"port": 9000}').data) == 9000
    client = server.client()
    client.create_service("another")
    other = Deploy(client, "another", RUNTIME)("network", name="listen", handler="index.listen")
    assert json.loads(other(b'{"port": 9000}').data) == 9000
