"""Imports Ray and connects to it: without usage statistics, with a token, and with errors translated into our own.

Called by `on_ray.cluster`. Ray connects the whole process, so there is one connection at a time.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

from sesame.model.errors import ConfigurationError

# Checked first, because Ray itself tries for 20 s to reach an address that does not answer.
REACHED_S = 5.0
AUTH_MODE, TOKEN = "RAY_AUTH_MODE", "token"
ADDRESS = "RAY_ADDRESS"
# Ray's namespace for the names of our actors.
NAMESPACE = "sesame"
# Ray's word for the Ray that runs on this machine.
_OWN = "auto"
_START = "start it on each machine: `ray start --head`, then `ray start --address HOST:PORT` (docs/cluster.md)"


def quiet() -> None:
    """Must be called before Ray is imported: turns usage statistics off and token authentication on.

    Raises `ConfigurationError` if the environment sets another authentication mode.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    mode = os.environ.setdefault(AUTH_MODE, TOKEN)
    if mode != TOKEN:
        raise ConfigurationError(
            f"{AUTH_MODE} is '{mode}'; expected {TOKEN}, as whoever reaches a Ray without a token runs programs on all "
            "of its machines: set it wherever `ray start` runs, and here"
        )


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Yields the module `ray`, connected to `address`, by default to `RAY_ADDRESS` or this machine's Ray.

    Raises `ConfigurationError` if the extra is not installed, or if Ray does not answer, refuses, or runs another
    version.
    """
    quiet()
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"a cluster needs the extra ray, which is not installed ({error.name} is missing): pip install "
            "'sesame-fc[ray]'"
        ) from error
    where = address or os.environ.get(ADDRESS) or _OWN
    _reach(where)
    try:
        ray.init(
            address=where, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True
        )
    except ray.exceptions.AuthenticationError as error:
        raise ConfigurationError(
            "Ray's token is not here; expected it in RAY_AUTH_TOKEN, in a file that RAY_AUTH_TOKEN_PATH names, or in "
            "~/.ray/auth_token, the same on every machine: `ray get-auth-token --generate` makes one"
        ) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigurationError(why_not(where, error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def why_not(where: str, error: Exception) -> str:
    """The error message for a Ray that could not be connected to."""
    said = " ".join(str(error).split())
    if "Version mismatch" in said:
        return f"Ray at {where} is of other versions; expected the same ones of Ray and Python everywhere: {said}"
    if isinstance(error, ConnectionError) and where == _OWN:
        return f"no Ray runs on this machine, or it does not take this token: {_START}, or name one with --ray-address"
    if isinstance(error, ConnectionError):
        return (
            f"Ray at {where} does not take this token, or does not answer: expected the token that it was started with"
        )
    return f"cannot connect to Ray at {where}: {said}"


def reached(head: str) -> bool:
    """Whether something accepts connections at the address of a head."""
    try:
        _reach(head)
    except ConfigurationError:
        return False
    return True


def _reach(where: str) -> None:
    """Raises `ConfigurationError` quickly if the address is malformed or nothing accepts connections there."""
    if where == _OWN:
        return
    host, colon, port = where.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit()) or "/" in where:
        raise ConfigurationError(f"the address of Ray is '{where}'; expected HOST:PORT, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACHED_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigurationError(f"Ray at {where} is not reached ({error}): {_START}") from error
