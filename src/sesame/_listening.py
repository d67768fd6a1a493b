"""Where the endpoints of a process listen, with which certificate and limits, and how their servers begin and end.

Used by `_endpoints`, `_metrics` and `_follower`, and by the commands that open the sockets before an agent runs.
"""

import ipaddress
import ssl
from contextlib import AsyncExitStack
from typing import NamedTuple

import psutil

from sesame import regular_file
from sesame._patience import Patience
from sesame.http.handover import Handover
from sesame.http.limits import Limits
from sesame.http.limits import for_host as limits_for_host
from sesame.http.server import HttpServer
from sesame.model.errors import ConfigurationError
from sesame.model.host_and_port import bracketed
from sesame.sandbox import descriptors
from sesame.settings import TABLE, Settings

# Users that share the process's descriptors equally: Function Compute with and without TLS, object storage for clients
# and for mounted buckets, the Log Service, STS, the names of the cloud with and without TLS, and the forwarding of
# instances' connections.
SHARES_OF_DESCRIPTORS = 9
# A certificate chain takes some thousands.
PEM_BYTES_MAX = 1024 * 1024


class Address(NamedTuple):
    """Where an endpoint listens, by the setting of its port. `scheme` is http or https."""

    setting: str
    host: str
    port: int
    scheme: str

    @property
    def asked(self) -> str:
        """The flag with the port, with which an error about it begins."""
        return f"{TABLE[self.setting].flag} {self.port}"

    @property
    def name(self) -> str:
        """By which a `Handover` knows the endpoint's socket: another address is another endpoint."""
        return f"{self.asked} {self.scheme}://{bracketed(self.host)}:{self.port}"


def addresses(settings: Settings) -> list[Address]:
    """Those of the endpoints that are served; Function Compute's is the first."""
    host, port = settings.host, settings.resolved_port
    found = [Address("port", host, port("port"), "http")]
    if settings.https_port is not None:
        found.append(Address("https_port", host, settings.https_port, "https"))
    found += [Address(each, host, port(each), "http") for each in ("oss_port", "sls_port", "sts_port")]
    if settings.metrics_port is not None:
        found.append(Address("metrics_port", settings.metrics_host, settings.metrics_port, "http"))
    return found


def share_of_limits() -> Limits:
    """Limits from this process's open files and the machine's memory, in equal parts for each endpoint."""
    return limits_for_host(descriptors.of_process(), psutil.virtual_memory().total, SHARES_OF_DESCRIPTORS)


class Serving(NamedTuple):
    """How a server ends: by `teardown`, waiting as `patience` allows, leaving its sockets to the `handover`, if any."""

    teardown: AsyncExitStack
    patience: Patience
    handover: Handover | None


async def serve(server: HttpServer, asked: str, serving: Serving) -> str:
    """Makes a server listen and returns its URL.

    Raises `ConfigurationError`, which begins with the flag that was `asked` for, if the address is not available.
    """
    handover, name = serving.handover, f"{asked} {server.url}"
    handed = None if handover is None else handover.take(name)
    if handover is not None and handed is None:
        handover.make_room(server.port)
    try:
        await server.start(handed)
    except ConfigurationError as error:
        raise ConfigurationError(f"{asked}: {error}") from error
    if handover is not None:
        handover.serves(name, server.go_on_with)

    async def stop() -> None:
        if handover is not None and handover.begun:
            handover.leave(await server.hand_over(name))
        await serving.patience.end(server.stop, server.hurry)

    serving.teardown.push_async_callback(stop)
    return server.local_url


def exposure(settings: Settings) -> str:
    """A warning for operators whose server other machines can reach without TLS; otherwise ""."""
    if settings.tls_cert is not None or _is_loopback(settings.host):
        return ""
    return (
        f"WARNING: --host {settings.host} is reached from other machines without TLS: events, code and credentials "
        "pass in the clear. Give --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy that speaks TLS."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def own_tls(settings: Settings) -> ssl.SSLContext | None:
    """A context with the certificate of the settings, or None. Raises `ConfigurationError` if it cannot be used."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        for path in (settings.tls_cert, settings.tls_key):
            # OpenSSL would wait for a writer of a named pipe.
            regular_file.content(path, PEM_BYTES_MAX)
        # Without an explicit password, OpenSSL would ask for the key's on the terminal.
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=b"")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"TLS cannot be served with the certificate {settings.tls_cert} and the key {settings.tls_key}: {error}; "
            "expected two PEM files: a certificate chain that begins with the server's own, and its key without a "
            "password"
        ) from error
    return context
