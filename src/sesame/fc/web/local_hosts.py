"""The local URLs of functions with HTTP triggers, on hosts below `localhost`.

`http://FUNCTION.SERVICE.localhost:PORT/` for a function of a service; `http://FUNCTION.localhost:PORT/` for one without
a service, and `http://FUNCTION--QUALIFIER.localhost:PORT/` for its versions and aliases. Used by
`fc.web.http_functions` and by the routes whose answers contain these URLs.
"""

from urllib.parse import urlsplit

from sesame.control.http_triggers import local_label
from sesame.model.owner import stands_alone

LOCALHOST = "localhost"


def local_labels(host: str) -> tuple[str, ...] | None:
    """The one or two labels before `localhost`; None for other hosts."""
    *labels, last = host.removesuffix(".").split(".")
    if last.lower() != LOCALHOST or len(labels) not in (1, 2) or not all(labels):
        return None
    return tuple(labels)


def local_url(base: str, owner: str, function: str, qualifier: str) -> str:
    """`base` is the `http://host:port` under which the caller reached this server."""
    parts = urlsplit(base)
    host = (
        f"{local_label(function, qualifier)}.{LOCALHOST}" if stands_alone(owner) else f"{function}.{owner}.{LOCALHOST}"
    )
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "") + "/"
