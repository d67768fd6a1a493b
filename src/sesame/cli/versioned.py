"""Finds what has versions by its name: a service, or a function without one (FC 3.0).

Used by the commands that publish, alias, show and delete.
"""

import http.client
from typing import Any

import msgspec

from sesame.cli.client import STANDING_ALONE_PREFIX, Refused, quoted
from sesame.cli.server_options import Session

SERVICE, FUNCTION = "service", "function"
ALONE = f"{STANDING_ALONE_PREFIX}/functions"


class Versioned(msgspec.Struct, frozen=True):
    """`kind` is SERVICE or FUNCTION; `path` is its path in the API, below which its versions and aliases are."""

    kind: str
    path: str
    document: dict[str, Any]


def versioned(session: Session, name: str) -> Versioned:
    """The service of this name, otherwise the function without a service. If neither exists, raises for the service."""
    path = f"/services/{quoted(name)}"
    try:
        return Versioned(SERVICE, path, session.client.ask("GET", path))
    except Refused as no_service:
        if no_service.status != http.client.NOT_FOUND:
            raise
        path = f"{ALONE}/{quoted(name)}"
        try:
            return Versioned(FUNCTION, path, session.client.ask("GET", path))
        except Refused as refused:
            raise no_service if refused.status == http.client.NOT_FOUND else refused from refused
