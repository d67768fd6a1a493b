"""`sesame start --agents N`: has a supervisor run the agents.

Called by `cli.start`, which is also an agent's life.
"""

import os
import socket
import sys
from collections.abc import Callable

from sesame import _agents, _follower  # noqa: F401 - agents are forked from here, and find them imported
from sesame._endpoints import addresses
from sesame.agents.place import Place
from sesame.agents.supervisor import Supervisor, Wanted
from sesame.cli import output
from sesame.http.listener import listening_socket
from sesame.model.errors import ConfigurationError
from sesame.settings import Settings


def count(settings: Settings) -> int:
    """How many agents are asked for."""
    if settings.agents != "auto":
        return int(settings.agents)
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def supervise(settings: Settings, run: Callable[[Place], int]) -> int:
    """Runs the agents to their end; the exit code. Raises `ConfigurationError` when an address cannot be had."""
    step_down(settings)
    return Supervisor(Wanted(count(settings), listening(settings), run), output.note).run()


def listening(settings: Settings) -> dict[str, socket.socket]:
    """What listens for clients. Raises `ConfigurationError` when an address cannot be had."""
    found: dict[str, socket.socket] = {}
    for name, (host, port) in addresses(settings).items():
        try:
            found[name] = listening_socket(host, port)
        except ConfigurationError as error:
            asked, _space, _url = name.rpartition(" ")
            raise ConfigurationError(f"{asked}: {error}") from error
    return found


def step_down(settings: Settings) -> None:
    """Leaves the control group to the agents' instances, while this is the only process in it."""
    if settings.sandbox != "plain" and sys.platform == "linux":
        from sesame.sandbox.jail.sweep import hierarchies

        hierarchies()
