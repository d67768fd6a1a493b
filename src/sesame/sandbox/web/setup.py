"""What the monitor of a web server is told at the start of an instance (docs/wire-protocol.md).

Used by the drivers; runtime/custom/monitor.py reads it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sesame.sandbox.interface import SandboxSpec
from sesame.sandbox.launch import SHIM_PLACE

# reference/runtime.md §12: so long a server may take until it listens.
WEB_SERVER_START_S = 120.0
BOOTSTRAP_VARIABLE = "BOOTSTRAP_FILE"


class Surroundings(msgspec.Struct, frozen=True):
    """Where an instance finds its code and the shim, and the program that its runtime gives it, if any."""

    code_dir: str
    shim: str
    program: tuple[str, ...]


def web_setup(spec: SandboxSpec, where: Surroundings, shown: Callable[[str], str] = str) -> Mapping[str, Any]:
    """The engine's setup with the program to run. `shown` gives this machine's path for one that the function knows."""
    server = spec.web_server
    assert server is not None
    code_dir = where.code_dir
    given = tuple(part.replace(SHIM_PLACE, where.shim) for part in where.program)
    command = given or server.command or (f"/code/{spec.environment.get(BOOTSTRAP_VARIABLE, 'bootstrap')}",)
    return {
        **spec.setup,
        "code_dir": code_dir,
        "command": [shown(argument) for argument in command],
        # As it is told to callers.
        "shown_command": " ".join(command),
        "listens": server.listens,
        "port": server.port,
        "health_check": None if server.health_check is None else msgspec.to_builtins(server.health_check),
        "start_timeout_s": WEB_SERVER_START_S,
    }
