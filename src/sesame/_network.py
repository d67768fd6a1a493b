"""Offers endpoints, services of the host and outgoing connections inside the networks of instances.

Called by `_endpoints`: `offer_endpoint` for each, then `offer_network`.
"""

import functools
import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog

from sesame._cloud import is_cloud_name
from sesame.control.own_hosts import CLOUD_SUFFIX
from sesame.destinations.reach import Reach
from sesame.http.server import HttpServer
from sesame.inside import proxy
from sesame.inside.bounds import Bounds
from sesame.inside.connections import Connections
from sesame.inside.datagrams import Datagrams
from sesame.inside.forwarding import Forwarding
from sesame.inside.proxy import Take
from sesame.inside.rules import Allowed, EgressRules, is_instances_own, networks_to_tell, parse
from sesame.sandbox.network import (
    EVERY_ADDRESS,
    EVERY_ADDRESS_6,
    HOST_ADDRESS,
    HOST_ADDRESS_6,
    INSTANCE_ADDRESS,
    INSTANCE_ADDRESS_6,
    HostAnswers,
    Listen,
    WayOut,
)
from sesame.settings import Settings

# The modules that parse DNS queries take a twentieth of a start to import; imported only if instances have networks.
if TYPE_CHECKING:
    from sesame.inside.names import NameServer

NAMES_PORT = 53
PROXY_PORT = 3128
# Port of the host's address that receives redirected traffic: no function can need it, because it is privileged.
LED_PORT = 1
# Five endpoints, each at every address of IPv4 and of IPv6; the resolver's two; the cloud's two ports; and outgoing
# connections, or the proxy: three sockets of IPv4 and three of IPv6.
LISTENS_MAX = 5 * 2 + 2 + 2 + 2 * 3
# A well-known public resolver; any address outside would do.
_OUTSIDE_6 = "2001:4860:4860::8888"
EVERYTHING = (parse("0.0.0.0/0"), parse("::/0"))

log = structlog.get_logger("sesame.network")


class OwnNetworks(msgspec.Struct, frozen=True):
    """The networks of instances. `kind` is host, egress or none; `leads_out` is that of `SandboxDriver.leads_out`.

    Even if `kind` is host, some runtimes have networks of their own. `closed` are ports that no instance may reach
    outside, as in `inside.rules`.
    """

    kind: str
    leads_out: frozenset[int] = frozenset()
    has_route_6: Callable[[], bool] = lambda: has_route_6()
    closed: frozenset[int] = frozenset()


def reach_of_records(settings: Settings, networks: OwnNetworks) -> Reach:
    """Records are sent for callers where their functions may go, too."""
    if networks.kind == "host":
        return Reach(None)
    allowed = [parse(text) for text in settings.network_allow]
    return Reach(EgressRules(allowed, closed=networks.closed, internet=networks.kind != "none"))


def listens_max(settings: Settings) -> int:
    """The maximum number of sockets that the host has in each network."""
    return LISTENS_MAX + len(settings.network_allow)


def offer_endpoint(answers: HostAnswers, server: HttpServer) -> None:
    """Makes the URLs of an endpoint work inside instances too, whatever address it has on this machine."""
    answers.offer(Listen("tcp", EVERY_ADDRESS, server.port), server.serve, server.take)
    if ":" in server.host:
        answers.offer(Listen("tcp", EVERY_ADDRESS_6, server.port), server.serve, server.take)
    add_host(answers, server.host)


def add_host(answers: HostAnswers, host: str) -> None:
    """Makes services that listen at every address reachable at an endpoint's address, too."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # A host name: the instance resolves it as this machine does.
        return
    if not (address.is_loopback or address.is_unspecified or (address.version == 6 and address.is_link_local)):
        answers.add_address(host)


def offer_network(
    answers: HostAnswers, settings: Settings, networks: OwnNetworks, bounds: Bounds, cloud_ports: Mapping[int, Take]
) -> None:
    """Offers the resolver, outgoing connections, and the services in `network_allow`, within `bounds`.

    `cloud_ports` serve proxy requests for the cloud's names, because not every client obeys `no_proxy`.
    """
    allowed = [parse(text) for text in settings.network_allow]
    for service in allowed:
        if service.is_one_service:
            _forward(answers, service, bounds)
    out, cloud = networks.kind != "none", settings.cloud_names == "on"
    is_own: Callable[[str], bool] = is_cloud_name if cloud else (lambda _name: False)

    @functools.cache
    def server() -> "NameServer":
        from sesame.inside import names

        return names.NameServer(is_own, HOST_ADDRESS, names.host_nameservers if out else None, bounds)

    if networks.kind != "host":
        server()
    answers.offer(Listen("udp", HOST_ADDRESS, NAMES_PORT), lambda taken, to: server().serve_datagrams(taken, to))
    answers.offer(Listen("tcp", HOST_ADDRESS, NAMES_PORT), lambda taken, to: server().serve_streams(taken, to))
    if not out:
        return
    reached = allowed if networks.kind == "egress" else EVERYTHING
    if networks.leads_out:
        _lead_out(answers, networks, (reached, allowed), bounds)
        return
    own = proxy.Own(is_own, cloud_ports)
    egress = proxy.EgressProxy(EgressRules(reached, closed=networks.closed), bounds, own=own)
    listen = Listen("tcp", HOST_ADDRESS, PROXY_PORT, leads_out=True)
    if not answers.offer(listen, egress.serve):
        _tell_no_way_out(PROXY_PORT)
        return
    named = EgressRules(allowed, closed=networks.closed, internet=False)
    answers.confine(listen, proxy.EgressProxy(named, bounds, own=own).serve)
    direct = ["localhost", "127.0.0.1", "::1", HOST_ADDRESS, settings.host]
    direct += ["." + CLOUD_SUFFIX] if cloud else []
    direct += [service.host for service in allowed if service.is_one_service]
    for name, value in (
        ("http_proxy", f"http://{HOST_ADDRESS}:{PROXY_PORT}"),
        ("https_proxy", f"http://{HOST_ADDRESS}:{PROXY_PORT}"),
        ("no_proxy", ",".join(dict.fromkeys(direct))),
    ):
        answers.add_variable(name, value)
        answers.add_variable(name.upper(), value)


def _lead_out(
    answers: HostAnswers, networks: OwnNetworks, reach: tuple[Sequence[Allowed], Sequence[Allowed]], bounds: Bounds
) -> None:
    """Redirects connections and datagrams for other addresses to this process, which forwards them.

    `reach`: what functions may reach in private networks, and all that those without internet access may reach.
    """
    reached, named = reach
    rules = EgressRules(reached, closed=networks.closed)
    confined = Connections(EgressRules(named, closed=networks.closed, internet=False), bounds)
    for each in reached:
        if is_instances_own(each.network) and not each.is_one_service:
            log.error(
                "functions cannot reach what network_allow names: in their network this is their own loopback; "
                "name single services, ADDRESS:PORT",
                network=str(each.network),
            )
    for version, host, source in ((4, HOST_ADDRESS, INSTANCE_ADDRESS), (6, HOST_ADDRESS_6, INSTANCE_ADDRESS_6)):
        if version not in networks.leads_out or (version == 6 and not networks.has_route_6()):
            continue
        listen = Listen("tcp", host, LED_PORT, takes_all=True, leads_out=True)
        if not answers.offer(listen, Connections(rules, bounds).serve):
            _tell_no_way_out(LED_PORT)
            return
        answers.confine(listen, confined.serve)
        datagrams = Datagrams(rules, bounds, source)
        # Offered first, so that answers can be sent as soon as datagrams arrive.
        answers.offer(Listen("raw", host, 0), datagrams.serve_answers)
        answers.offer(Listen("udp", host, LED_PORT, takes_all=True, leads_out=True), datagrams.serve)
        led, refused = networks_to_tell(reached, version)
        answers.lead_out(WayOut(host, LED_PORT, source, led, refused))


def has_route_6() -> bool:
    """Whether this machine has a route to IPv6 addresses outside. Sends nothing."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((_OUTSIDE_6, 53))
    except OSError:
        return False
    return True


def _tell_no_way_out(port: int) -> None:
    log.error("functions have no way out: an endpoint has the port that leads there", port=port)


def _forward(answers: HostAnswers, service: Allowed, bounds: Bounds) -> None:
    listen = Listen("tcp", service.host, service.port)
    if not answers.offer(listen, Forwarding(service, bounds).serve):
        log.error(
            "functions cannot reach what network_allow names: Sesame itself has the port in their network",
            address=service.host,
            port=service.port,
        )
