"""HTTPS on a real socket: real handshakes, each answered with the certificate of the custom domain that it names."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.fc.conftest import Answer, Endpoint, outcome
from tests.support.certificates import pair

from sesame.control.domains import Domains
from sesame.control.own_hosts import OwnHosts
from sesame.fc.web.certificates import Certificates
from sesame.http.server import HttpServer
from sesame.model import records
from sesame.model.domain import CertConfig, CustomDomain
from sesame.model.invocation import Invocation, Outcome

ROUTES = {"routes": [{"path": "/*", "serviceName": "demo", "functionName": "f"}]}
ONE, TWO = "one.example.com", "two.example.com"
ONES, TWOS, NEW_ONES = pair(ONE), pair(TWO), pair(ONE)
TIMEOUT_S = 30


@pytest.fixture
async def web(endpoint: Endpoint, function_body: dict[str, Any]) -> Endpoint:
    """An HTTP function that anyone may visit."""
    trigger = {"authType": "anonymous", "methods": ["GET", "POST"]}
    for path, body in (
        ("/services", {"serviceName": "demo"}),
        ("/services/demo/functions", function_body),
        (
            "/services/demo/functions/f/triggers",
            {"triggerName": "web", "triggerType": "http", "triggerConfig": trigger},
        ),
    ):
        assert (await endpoint.call("POST", path, body)).status == 200
    return endpoint


@pytest.fixture
async def tls(web: Endpoint) -> AsyncIterator[HttpServer]:
    server = HttpServer(web.gateway, tls=Certificates(Domains(web.catalog, OwnHosts.of((), ())).find).context())
    await server.start()
    yield server
    await server.stop(grace_s=1)


async def domain(endpoint: Endpoint, name: str, **changes: Any) -> Answer:
    """Creates a domain that is served over both, or changes it."""
    existing = await endpoint.call("GET", f"/custom-domains/{name}")
    if existing.status == 200:
        answer = await endpoint.call("PUT", f"/custom-domains/{name}", changes)
    else:
        whole = {"domainName": name, "protocol": "HTTP,HTTPS", "routeConfig": ROUTES, **changes}
        answer = await endpoint.call("POST", "/custom-domains", whole)
    return answer


def cert(config: CertConfig) -> dict[str, str]:
    return {"certName": "c", "certificate": config.certificate, "privateKey": config.private_key}


def trusting(*configs: CertConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata="".join(config.certificate for config in configs))
    assert context.check_hostname
    return context


class Connection:
    """A client that has shaken hands."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    @classmethod
    async def to(cls, server: HttpServer, name: str | None, context: ssl.SSLContext) -> "Connection":
        opening = asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname=name)
        return cls(*await asyncio.wait_for(opening, TIMEOUT_S))

    async def visit(self, host: str, path: str = "/", *headers: str, body: bytes = b"") -> tuple[int, bytes]:
        lines = [f"POST {path} HTTP/1.1", f"host: {host}", *headers, f"content-length: {len(body)}"]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), TIMEOUT_S)
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
        return int(head[9:12]), await asyncio.wait_for(self._reader.readexactly(length), TIMEOUT_S)

    @property
    def certificate(self) -> bytes:
        der = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(der, bytes)
        return der


def der(config: CertConfig) -> bytes:
    return ssl.PEM_cert_to_DER_cert(config.certificate)


async def test_each_domain_shows_its_own_certificate(web: Endpoint, tls: HttpServer) -> None:
    for name, config in ((ONE, ONES), (TWO, TWOS)):
        assert (await domain(web, name, certConfig=cert(config))).status == 200
    for name, config in ((ONE, ONES), (TWO, TWOS), (ONE.upper(), ONES)):
        visitor = await Connection.to(tls, name, trusting(config))
        assert visitor.certificate == der(config)
        assert await visitor.visit(name, body=name.encode()) == (200, name.encode())
        visitor.writer.close()
    assert tls.url == f"https://127.0.0.1:{tls.port}"


async def test_a_chain_is_sent_whole_and_rsa_is_served(web: Endpoint, tls: HttpServer) -> None:
    config = pair(ONE, key=rsa.generate_private_key(65537, 2048))
    chain = {**cert(config), "certificate": "a comment: 中\n" + config.certificate + TWOS.certificate}
    assert (await domain(web, ONE, certConfig=chain)).status == 200
    visitor = await Connection.to(tls, ONE, trusting(config))
    assert (await visitor.visit(ONE))[0] == 200
    visitor.writer.close()


async def test_a_new_certificate_counts_at_once_and_open_connections_go_on(web: Endpoint, tls: HttpServer) -> None:
    await domain(web, ONE, certConfig=cert(ONES))
    former = await Connection.to(tls, ONE, trusting(ONES))
    assert (await domain(web, ONE, certConfig=cert(NEW_ONES))).status == 200
    latter = await Connection.to(tls, ONE, trusting(NEW_ONES))
    assert (former.certificate, latter.certificate) == (der(ONES), der(NEW_ONES))
    assert (await web.call("DELETE", f"/custom-domains/{ONE}")).status == 204
    await refused(tls, ONE, "UNRECOGNIZED_NAME")
    assert (await domain(web, ONE, certConfig=cert(ONES))).status == 200
    for visitor in (former, latter):
        assert await visitor.visit(ONE, body=b"still") == (200, b"still")
        visitor.writer.close()


async def refused(server: HttpServer, name: str | None, reason: str, context: ssl.SSLContext | None = None) -> None:
    if context is None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ssl.SSLError) as caught:
        # TLS 1.3 is done with its handshake before an answer to it can be read.
        await (await Connection.to(server, name, context)).visit("any")
    assert reason in str(caught.value.reason)


async def test_names_without_a_certificate_are_refused_in_the_handshake(web: Endpoint, tls: HttpServer) -> None:
    await domain(web, ONE, protocol="HTTP", certConfig=cert(ONES))
    await domain(web, TWO, protocol="HTTP")
    for name in (ONE, TWO, "unknown.example.com", "", "127.0.0.1", "sub." + ONE):
        await refused(tls, name, "UNRECOGNIZED_NAME")
    assert (await domain(web, ONE, protocol="HTTPS")).status == 200
    visitor = await Connection.to(tls, ONE, trusting(ONES))
    assert (await visitor.visit(ONE))[0] == 200
    visitor.writer.close()


async def test_the_protocol_of_the_domain_that_is_asked_for_counts(web: Endpoint, tls: HttpServer) -> None:
    """Whatever name the handshake was made for."""
    await domain(web, ONE, protocol="HTTPS", certConfig=cert(ONES))
    await domain(web, TWO, protocol="HTTP")
    visitor = await Connection.to(tls, ONE, trusting(ONES))
    status, body = await visitor.visit(TWO)
    assert (status, b"is not served over HTTPS" in body) == (403, True)
    visitor.writer.close()
    plain = await web.call("GET", "/", b"", {"host": ONE}, sign=False, whole_path=True)
    assert (plain.status, plain.json()["ErrorCode"]) == (403, "AccessDenied")
    assert "is not served over HTTP: its protocol is 'HTTPS'" in plain.json()["ErrorMessage"]
    assert (await web.call("GET", "/", b"", {"host": TWO}, sign=False, whole_path=True)).status == 200


async def test_the_function_is_told_that_it_is_https(web: Endpoint, tls: HttpServer) -> None:
    await domain(web, ONE, certConfig=cert(ONES))
    visitor = await Connection.to(tls, ONE, trusting(ONES))
    await visitor.visit(ONE, "/", "x-forwarded-proto: http", "x-mine: 1")
    params: Any = web.engine.asked[-1].http_params
    assert params["scheme"] == "https"
    assert [value for name, value in params["headers"] if name == "x-forwarded-proto"] == ["https"]
    assert ["x-mine", "1"] in params["headers"]
    visitor.writer.close()
    await web.call("GET", "/", b"", {"host": ONE, "x-forwarded-proto": "https"}, sign=False, whole_path=True)
    params = web.engine.asked[-1].http_params
    assert params["scheme"] == "http"
    assert ["x-forwarded-proto", "https"] in params["headers"]


async def test_the_api_is_served_by_the_name_of_a_domain_too(web: Endpoint, tls: HttpServer) -> None:
    await domain(web, ONE, certConfig=cert(ONES))
    visitor = await Connection.to(tls, ONE, trusting(ONES))
    path = "/services/demo/functions/f/invocations"
    signed = [f"{name}: {value}" for name, value in web.signed("POST", path).items() if name != "host"]
    assert await visitor.visit(ONE, "/2016-08-15" + path, *signed, body=b"event") == (200, b"event")
    visitor.writer.close()


async def test_a_domain_may_ask_for_tls_1_3(web: Endpoint, tls: HttpServer) -> None:
    await domain(web, ONE, certConfig=cert(ONES), tlsConfig={"minVersion": "TLSv1.3"})
    old = trusting(ONES)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    await refused(tls, ONE, "HANDSHAKE_FAILURE", old)
    visitor = await Connection.to(tls, ONE, trusting(ONES))
    assert visitor.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    visitor.writer.close()
    await domain(web, ONE, tlsConfig={"minVersion": "TLSv1.0"})
    visitor = await Connection.to(tls, ONE, old)
    assert visitor.writer.get_extra_info("ssl_object").version() == "TLSv1.2"
    visitor.writer.close()


async def test_an_expired_certificate_is_kept_and_its_visitors_see_it(web: Endpoint, tls: HttpServer) -> None:
    config = pair(ONE, days=1)
    assert (await domain(web, ONE, certConfig=cert(config))).status == 200
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        await Connection.to(tls, ONE, trusting(config))


async def test_a_kept_certificate_that_cannot_be_served_refuses_its_domain_alone(
    web: Endpoint, tls: HttpServer
) -> None:
    """As one kept by a Sesame with older libraries."""
    weak = CustomDomain(ONE, "HTTPS", cert_config=pair(ONE, key=rsa.generate_private_key(65537, 1024)))
    await web.catalog.edit(lambda tx: tx.put(records.CUSTOM_DOMAIN, "", ONE, weak))
    await domain(web, TWO, certConfig=cert(TWOS))
    await refused(tls, ONE, "INTERNAL_ERROR")
    visitor = await Connection.to(tls, TWO, trusting(TWOS))
    assert (await visitor.visit(TWO))[0] == 200
    visitor.writer.close()


async def test_malformed_tls_gets_no_answer_and_harms_no_other_client(web: Endpoint, tls: HttpServer) -> None:
    await domain(web, ONE, certConfig=cert(ONES))
    reader, writer = await asyncio.open_connection("127.0.0.1", tls.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert b"HTTP" not in await asyncio.wait_for(reader.read(), TIMEOUT_S)
    writer.close()
    visitor = await Connection.to(tls, ONE, trusting(ONES))
    assert (await visitor.visit(ONE))[0] == 200
    visitor.writer.close()


async def test_stopping_lets_a_running_call_end_and_waits_for_no_handshake(web: Endpoint) -> None:
    server = HttpServer(web.gateway, tls=Certificates(Domains(web.catalog, OwnHosts.of((), ())).find).context())
    await server.start()
    await domain(web, ONE, certConfig=cert(ONES))
    go_on = asyncio.Event()

    async def slow(_call: Invocation) -> Outcome:
        await go_on.wait()
        return outcome(b"done")

    web.engine.then = slow
    _silent, silent = await asyncio.open_connection("127.0.0.1", server.port)
    visitor = await Connection.to(server, ONE, trusting(ONES))
    answer = asyncio.ensure_future(visitor.visit(ONE))
    await asyncio.wait_for(web.engine.entered.wait(), TIMEOUT_S)
    stop = asyncio.ensure_future(server.stop(grace_s=2))
    await asyncio.sleep(0)
    go_on.set()
    assert await answer == (200, b"done")
    await asyncio.wait_for(stop, 2 * TIMEOUT_S)
    silent.close()
