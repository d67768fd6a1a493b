"""Serves the cloud's host names in the networks of instances: ports 80 and 443 forward each name to its endpoint.

Called by `_endpoints`, and by `app` for the certificates that sandboxes trust.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from sesame._patience import Patience
from sesame.http.interface import Answer, Endpoint, Exchange, Refusal
from sesame.http.limits import Limits
from sesame.http.server import HttpServer
from sesame.inside.cloud_names import FC, product_of, wildcards
from sesame.inside.proxy import Take
from sesame.model.clocks import Clocks
from sesame.model.errors import ConfigurationError
from sesame.model.fair_rate import FairRate
from sesame.sandbox.network import HOST_ADDRESS, TRUSTED, HostAnswers, Listen

# The modules that make certificates are imported only if the cloud's names are enabled.
if TYPE_CHECKING:
    from sesame.inside.authority import Authority

HTTP_PORT, HTTPS_PORT = 80, 443
BUNDLE = "bundle.pem"
# OpenSSL, requests, curl and Node.js read these instead of the system's certificates.
TRUST_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")

log = structlog.get_logger("sesame.network")


def is_cloud_name(name: str) -> bool:
    return product_of(name) != ""


class CloudTrust:
    """The authority of a data directory, and the certificate file of which sandboxes get a copy."""

    def __init__(self, folder: Path, secret: bytes | None = None) -> None:
        """The same `secret` gives the same authority on every machine."""
        from sesame.inside.authority import Authority

        self._folder = folder
        self.authority = Authority(folder, is_cloud_name, secret)

    @property
    def bundle(self) -> Path:
        """The path of the certificate file, which `open` writes."""
        return self._folder / BUNDLE

    def open(self) -> Path:
        """Creates or reads the authority, and rewrites the file, as the machine's certificates may have changed."""
        try:
            self.authority.open()
        except ValueError as error:
            raise ConfigurationError(f"names of the cloud: {error}") from error
        self.bundle.write_bytes(self.authority.bundle())
        return self.bundle


class CloudNeeds(msgspec.Struct, frozen=True):
    """`endpoints` are keyed by the products of `inside.cloud_names`; `region` is Sesame's own."""

    endpoints: Mapping[str, Endpoint]
    authority: "Authority"
    limits: Callable[[], Limits]
    clocks: Clocks
    teardown: AsyncExitStack
    patience: Patience
    arrivals: FairRate
    region: str


class ByName:
    """Passes each request to the endpoint that its Host header names; any other host means Function Compute."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = endpoints

    async def serve(self, exchange: Exchange) -> None:
        host = (exchange.request.header(b"host") or b"").decode("latin-1").lower()
        product = product_of(host.partition(":")[0].removesuffix(".")) or FC
        await self._endpoints[product].serve(exchange)

    def refuse(self, refusal: Refusal) -> Answer:
        return self._endpoints[FC].refuse(refusal)


def offer_cloud(answers: HostAnswers, needs: CloudNeeds) -> Mapping[int, Take]:
    """Serves the cloud's names inside the networks of instances, without a process or a port on the host.

    Returns, by port, a function that accepts connections made inside this process.
    """
    from sesame.inside.certificates import Certificates

    taking: dict[int, Take] = {}
    endpoint = ByName(needs.endpoints)
    certificates = Certificates(needs.authority, unnamed=wildcards(needs.region))
    needs.teardown.callback(certificates.close)
    for port, tls in ((HTTP_PORT, None), (HTTPS_PORT, certificates)):
        server = HttpServer(
            endpoint,
            host=HOST_ADDRESS,
            port=port,
            tls=tls,
            limits=needs.limits(),
            clocks=needs.clocks,
            arrivals=needs.arrivals,
        )
        if not answers.offer(Listen("tcp", HOST_ADDRESS, port), server.serve, server.take):
            log.error("names of the cloud do not work on a port that an endpoint has", port=port)
            continue
        server.open()
        taking[port] = server.take
        needs.teardown.push_async_callback(needs.patience.end, server.stop, server.hurry)
    add_trust(answers)
    return taking


def add_trust(answers: HostAnswers) -> None:
    """Sets the variables that make programs in functions trust Sesame's certificates."""
    for name in TRUST_VARIABLES:
        answers.add_variable(name, TRUSTED)
