"""Which addresses records may be sent to: those that functions may reach, too (docs/network.md).

Used by `destinations.sender` with each resolved address that it then connects to, and by `control`, through the roof,
to refuse addresses when they are set. URLs that the operator chose (`--destinations`) are not restricted.
"""

import ipaddress
from urllib.parse import urlsplit

from sesame.inside.rules import EgressRules

_PORTS = {"http": 80, "https": 443}
LOCALHOST = "localhost"
ALLOWED = (
    "a URL outside of this machine and its private networks, or one that the setting network_allow names, as functions "
    "may reach it"
)


class Reach:
    """`rules` are None if functions may reach everything."""

    def __init__(self, rules: EgressRules | None) -> None:
        self._rules = rules

    def permits(self, address: str, port: int) -> bool:
        """`address` is an IP address, as it is connected to."""
        return self._rules is None or self._rules.permit(ipaddress.ip_address(address.partition("%")[0]), port)

    def expected_instead(self, url: str) -> str:
        """What to expect instead of a URL whose host is an address that records are not sent to; "" for any other.

        A name is judged when it is resolved.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            address = ipaddress.ip_address("127.0.0.1" if host == LOCALHOST else host.partition("%")[0])
        except ValueError:
            return ""
        port = parts.port or _PORTS.get(parts.scheme, 0)
        return "" if self.permits(str(address), port) else ALLOWED
