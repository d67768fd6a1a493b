"""Checks the requirements of a cluster node, both where the cluster is requested and on each machine.

Called by `cli.node` and by `sesame start --cluster`.
"""

import ipaddress
import re

from sesame.model.errors import ConfigurationError
from sesame.settings import TABLE, Settings
from sesame.settings_fields import PORT_MAX

# The following port is used as well.
AGENT_PORT = 9010


# Node names appear in rows, session names and logs.
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def require_name(node: str) -> None:
    """Raises `ConfigurationError`."""
    if not _NODE.match(node):
        raise ConfigurationError(
            f"node is {node!r}; expected a name of letters, digits, '.', '_' and '-', of at most 64, such as that of "
            "the machine (--node)"
        )


def require_address(address: str) -> None:
    """Raises `ConfigurationError` for an address that other nodes could not connect to, or that is their own."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        found = None
    if found is None or found.is_unspecified or found.is_multicast:
        raise ConfigurationError(
            f"node_address is '{address}'; expected the address at which the other nodes reach this machine, such as "
            "10.0.0.2 or fd00::2 (--node-address)"
        )


def require(settings: Settings, agent_port: int) -> None:
    """Raises `ConfigurationError` for missing or unsuitable settings."""
    missing = [TABLE[name].flag for name in ("database", "objects") if getattr(settings, name) is None]
    if missing:
        raise ConfigurationError(
            f"a node of a cluster needs {' and '.join(missing)}: what all nodes share is in a PostgreSQL database "
            "(--database postgresql://…) and in an S3-speaking store (--objects s3://…)"
        )
    if settings.agents != "1":
        raise ConfigurationError(
            f"agents is '{settings.agents}'; expected 1, as a node of a cluster has its own agents"
        )
    if settings.tls_cert is not None:
        raise ConfigurationError("tls_cert is set; expected none in a cluster, and a proxy before it that speaks TLS")
    if not 0 <= agent_port < PORT_MAX:
        raise ConfigurationError(f"agent_port is {agent_port}; expected 0 to {PORT_MAX - 1}")
