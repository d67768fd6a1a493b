"""The names and addresses of the server itself, which no custom domain may have.

Made by `app`, which knows where the endpoints listen; asked by `control.domains`.
"""

import re
from collections.abc import Iterable

import msgspec

# The domain of the cloud's endpoints. Clients may resolve names below it to this server.
CLOUD_SUFFIX = "aliyuncs.com"
# Browsers and libraries read a host whose last label is a number as an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


class OwnHosts(msgspec.Struct, frozen=True):
    """`names` are exact; of `suffixes` every name below belongs to the server too. Both in lower case."""

    names: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str], suffixes: Iterable[str]) -> "OwnHosts":
        """Besides what is named: `localhost`, and the names of the cloud's own endpoints."""
        lower = (name.lower() for name in names if name)
        return cls(frozenset({"localhost", *lower}), (*(suffix.lower() for suffix in suffixes), CLOUD_SUFFIX))

    def owns(self, host: str) -> bool:
        """Whether the server itself answers to this host, which comes without a port. Every IP address is its own."""
        name = host.lower().removesuffix(".")
        if ":" in name or _NUMBER.fullmatch(name.rpartition(".")[2]):
            return True
        return name in self.names or any(name == suffix or name.endswith("." + suffix) for suffix in self.suffixes)
