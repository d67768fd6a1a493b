"""The names and addresses of the server itself, which no custom domain may have.

Created by `app`, which knows where the endpoints listen; used by `control.domains`.
"""

import re
from collections.abc import Iterable

import msgspec

# The domain of the cloud's endpoints. Clients may resolve names below it to this server.
CLOUD_SUFFIX = "aliyuncs.com"
# Names of operating systems for their own loopback addresses. Names below `localhost` are free for custom domains:
# browsers and resolvers resolve them to this machine (RFC 6761 §6.3), so that `shop.localhost` needs no DNS entry.
LOOPBACK_NAMES = frozenset(
    {
        "localhost", "localhost4", "localhost6",
        "localhost.localdomain", "localhost4.localdomain4", "localhost6.localdomain6",
        "ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters",
    }
)  # fmt: skip
# Browsers and libraries parse a host whose last label is a number as an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


class OwnHosts(msgspec.Struct, frozen=True):
    """`names` are exact; every name below one of `suffixes` belongs to the server too. All in lower case."""

    names: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str], suffixes: Iterable[str]) -> "OwnHosts":
        """Adds `LOOPBACK_NAMES`, and the names of the cloud's own endpoints."""
        lower = (name.lower() for name in names if name)
        return cls(LOOPBACK_NAMES.union(lower), (*(suffix.lower() for suffix in suffixes), CLOUD_SUFFIX))

    def owns(self, host: str) -> bool:
        """Whether the host (without a port) is the server's own. Every IP address is."""
        name = host.lower().removesuffix(".")
        if ":" in name or _NUMBER.fullmatch(name.rpartition(".")[2]):
            return True
        return name in self.names or any(name == suffix or name.endswith("." + suffix) for suffix in self.suffixes)
