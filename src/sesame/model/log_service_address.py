"""Where a client of the Log Service finds it, from the address that it listens on.

Used by `sesame env` and by `testing`.
"""

import ipaddress
from urllib.parse import urlsplit


def log_service_endpoint(url: str) -> str:
    """What a client of the Log Service at this URL takes as its endpoint: it puts the project before the host.

    On port 80 that is the bare address. Elsewhere it is a name that has the projects below it, where there is one.
    """
    parts = urlsplit(url)
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return url
    if parts.port == 80 and address.version == 4:
        return str(address)
    return url.replace(parts.netloc, f"sls.localhost:{parts.port}") if address.is_loopback else url
