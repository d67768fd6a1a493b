"""The endpoint for clients of the Log Service, derived from the address that it listens on.

Used by `sesame env` and by `testing`.
"""

import ipaddress
from urllib.parse import urlsplit


def log_service_endpoint(url: str) -> str:
    """The endpoint to configure in a client, which puts the project's name before the host.

    On port 80 the endpoint is the bare IPv4 address. A loopback address becomes `sls.localhost`, whose subdomains, one
    per project, resolve.
    """
    parts = urlsplit(url)
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return url
    if parts.port == 80 and address.version == 4:
        return str(address)
    return url.replace(parts.netloc, f"sls.localhost:{parts.port}") if address.is_loopback else url
