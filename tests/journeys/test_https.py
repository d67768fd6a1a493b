"""Custom domains over HTTPS through the endpoint: each shows its own certificate, and functions learn of it."""

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import fc2
import pytest
from tests.journeys.conftest import RUNTIMES, Deploy, Sesame, running, runtimes_of
from tests.support.certificates import pair

from sesame.model.domain import CertConfig

TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("secure"), "--https-port", "0", runtime=runtimes_of(request)) as server:
        yield server


@pytest.fixture
def sesame(secure: Sesame) -> Sesame:
    """The server of this file, for the fixtures that deploy."""
    return secure


@pytest.fixture
def publish(deploy: Deploy, client: fc2.Client, service: str) -> Callable[[str], None]:
    """Deploys a function that anyone may visit and that answers what it saw."""

    def make(name: str) -> None:
        deploy("web", name=name)
        trigger = {"authType": "anonymous", "methods": ["GET", "POST"]}
        client.create_trigger(service, name, "web", "http", trigger, "", "")

    return make


class Visitor(http.client.HTTPSConnection):
    """A browser that asks for a host, trusts one certificate, and finds the host at this server."""

    def __init__(self, server: Sesame, host: str, trusted: CertConfig) -> None:
        super().__init__(host, context=ssl.create_default_context(cadata=trusted.certificate), timeout=TIMEOUT_S)
        self._server = server

    def connect(self) -> None:
        self.sock = self._context.wrap_socket(_connected(self._server), server_hostname=self.host)  # type: ignore[attr-defined]

    def visit(self, path: str = "/") -> dict[str, Any]:
        self.request("GET", path)
        answer = self.getresponse()
        body = answer.read()
        assert answer.status == 202, body
        seen = json.loads(body)
        assert isinstance(seen, dict)
        return seen


def _connected(server: Sesame) -> socket.socket:
    told = json.loads((server.data_dir / "endpoints.json").read_text())["fc_https"]
    address = urlsplit(told)
    assert (address.scheme, address.hostname) == ("https", "127.0.0.1")
    return socket.create_connection((address.hostname, address.port), timeout=TIMEOUT_S)


def cert(config: CertConfig) -> dict[str, str]:
    return {"certName": "mine", "certificate": config.certificate, "privateKey": config.private_key}


def test_functions_learn_that_they_are_visited_over_https(
    secure: Sesame, client: fc2.Client, service: str, publish: Callable[[str], None]
) -> None:
    publish("site")
    host = f"{service}.example.com"
    config = pair(host)
    routes = {"routes": [{"path": "/*", "serviceName": service, "functionName": "site"}]}
    client.create_custom_domain(host, "HTTP,HTTPS", routes, certConfig=cert(config))
    visitor = Visitor(secure, host, config)
    seen = visitor.visit("/a?b=1")
    assert (seen["environ"]["PATH_INFO"], seen["uri"]) == ("/a", "/a?b=1")
    assert seen["scheme"] == "https"
    assert seen["environ"]["HTTP_X_FORWARDED_PROTO"] == "https"
    visitor.close()
    plain = http.client.HTTPConnection(secure.endpoint.removeprefix("http://"), timeout=TIMEOUT_S)
    plain.request("GET", "/", headers={"Host": host})
    assert json.loads(plain.getresponse().read())["scheme"] == "http"
    plain.close()


@pytest.mark.parametrize("runtime", RUNTIMES[:1])
def test_the_life_of_two_domains(
    secure: Sesame, client: fc2.Client, service: str, publish: Callable[[str], None]
) -> None:
    hosts = {name: f"{name}.{service}.example.com" for name in ("one", "two")}
    configs = {name: pair(host) for name, host in hosts.items()}
    visitors = {}
    for name, host in hosts.items():
        publish(name)
        routes = {"routes": [{"path": "/*", "serviceName": service, "functionName": name}]}
        client.create_custom_domain(host, "HTTP,HTTPS", routes, certConfig=cert(configs[name]))
        visitors[name] = Visitor(secure, host, configs[name])
    for name, visitor in visitors.items():
        assert visitor.visit()["function"] == name
    renewed = pair(hosts["one"])
    client.update_custom_domain(hosts["one"], certConfig=cert(renewed))
    with pytest.raises(ssl.SSLCertVerificationError):
        Visitor(secure, hosts["one"], configs["one"]).visit()
    assert Visitor(secure, hosts["one"], renewed).visit()["function"] == "one"
    client.update_custom_domain(hosts["two"], protocol="HTTP")
    client.delete_custom_domain(hosts["one"])
    for host in (*hosts.values(), "127.0.0.1"):
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            Visitor(secure, host, configs["one"]).visit()
    client.update_custom_domain(hosts["two"], protocol="HTTPS")
    assert visitors["two"].visit()["function"] == "two"


def test_keys_lie_where_their_owner_alone_reads(secure: Sesame, client: fc2.Client) -> None:
    config = pair("kept.example.com")
    client.create_custom_domain("kept.example.com", "HTTPS", {"routes": []}, certConfig=cert(config))
    secret = config.private_key.splitlines()[1].encode()
    holding = [path for path in secure.data_dir.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert holding
    assert [path for path in holding if path.stat().st_mode & 0o077] == []
    shown = client.get_custom_domain("kept.example.com").data["certConfig"]
    assert (shown["certName"], shown["privateKey"]) == ("mine", None)
    client.delete_custom_domain("kept.example.com")
