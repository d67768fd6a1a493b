"""Brings into the networks of instances what they may reach of the host, and the way out.

Called by `_endpoints`: `offer_endpoint` for each, then `offer_network`.
"""

import ipaddress
from collections.abc import Mapping

import structlog

from sesame._cloud import is_cloud_name
from sesame.control.own_hosts import CLOUD_SUFFIX
from sesame.http.server import HttpServer
from sesame.inside import names, proxy
from sesame.inside.bounds import Bounds
from sesame.inside.forwarding import Forwarding
from sesame.inside.proxy import Take
from sesame.inside.rules import Allowed, EgressRules, parse
from sesame.sandbox.network import EVERY_ADDRESS, EVERY_ADDRESS_6, HOST_ADDRESS, HostAnswers, Listen
from sesame.settings import Settings

# Five endpoints, each at every address of IPv4 and of IPv6; the resolver's two, the proxy, and the cloud's two ports.
LISTENS_MAX = 5 * 2 + 2 + 1 + 2
EVERYTHING = (parse("0.0.0.0/0"), parse("::/0"))

log = structlog.get_logger("sesame.network")


def listens_max(settings: Settings) -> int:
    """How many sockets the host has in each network at most, whatever is offered of these."""
    return LISTENS_MAX + len(settings.network_allow)


def offer_endpoint(answers: HostAnswers, server: HttpServer) -> None:
    """Has the URLs of an endpoint lead to it from inside too, whatever address it has on this machine."""
    answers.offer(Listen("tcp", EVERY_ADDRESS, server.port), server.serve)
    try:
        address = ipaddress.ip_address(server.host)
    except ValueError:
        # A name, which the instance resolves as this machine does.
        return
    if address.version == 6:
        answers.offer(Listen("tcp", EVERY_ADDRESS_6, server.port), server.serve)
    if not (address.is_loopback or address.is_unspecified or (address.version == 6 and address.is_link_local)):
        answers.add_address(server.host)


def offer_network(
    answers: HostAnswers, settings: Settings, network: str, bounds: Bounds, cloud_ports: Mapping[int, Take]
) -> None:
    """`network` is the one that instances have; where that is the host's, some runtimes have their own all the same.

    `bounds` is what they may have of this process. `cloud_ports` take what the proxy is asked for under a name of the
    cloud: not every client heeds `no_proxy`.
    """
    allowed = [parse(text) for text in settings.network_allow]
    for service in allowed:
        if service.is_one_service:
            _forward(answers, service, bounds)
    out, cloud = network != "none", settings.cloud_names == "on"
    is_own, upstream = is_cloud_name if cloud else (lambda _name: False), names.host_nameservers if out else None
    server = names.NameServer(is_own, HOST_ADDRESS, upstream, bounds)
    answers.offer(Listen("udp", HOST_ADDRESS, names.PORT), server.serve_datagrams)
    answers.offer(Listen("tcp", HOST_ADDRESS, names.PORT), server.serve_streams)
    if out:
        rules = EgressRules(allowed if network == "egress" else EVERYTHING)
        egress = proxy.EgressProxy(rules, bounds, own=proxy.Own(is_own, cloud_ports))
        if not answers.offer(Listen("tcp", HOST_ADDRESS, proxy.PORT), egress.serve):
            log.error("functions have no way out: an endpoint has the port of their proxy", port=proxy.PORT)
            return
        direct = ["localhost", "127.0.0.1", "::1", HOST_ADDRESS, settings.host]
        direct += ["." + CLOUD_SUFFIX] if cloud else []
        direct += [service.host for service in allowed if service.is_one_service]
        for name, value in (
            ("http_proxy", f"http://{HOST_ADDRESS}:{proxy.PORT}"),
            ("https_proxy", f"http://{HOST_ADDRESS}:{proxy.PORT}"),
            ("no_proxy", ",".join(dict.fromkeys(direct))),
        ):
            answers.add_variable(name, value)
            answers.add_variable(name.upper(), value)


def _forward(answers: HostAnswers, service: Allowed, bounds: Bounds) -> None:
    listen = Listen("tcp", service.host, service.port)
    if not answers.offer(listen, Forwarding(service, bounds).serve):
        log.error(
            "functions cannot reach what network_allow names: Sesame itself has the port in their network",
            address=service.host,
            port=service.port,
        )
