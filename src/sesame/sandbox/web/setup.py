"""The setup that a web server's monitor receives at the start of an instance (docs/wire-protocol.md).

Used by the drivers; read by runtime/custom/monitor.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sesame.sandbox.interface import SandboxSpec
from sesame.sandbox.launch import SHIM_PLACE

# reference/runtime.md §12: how long a server may take until it listens.
WEB_SERVER_START_S = 120.0
BOOTSTRAP_VARIABLE = "BOOTSTRAP_FILE"


class Surroundings(msgspec.Struct, frozen=True):
    """Paths of code and shim inside the instance, and the runtime's own program, if any."""

    code_dir: str
    shim: str
    program: tuple[str, ...]


def web_setup(spec: SandboxSpec, where: Surroundings, shown: Callable[[str], str] = str) -> Mapping[str, Any]:
    """The engine's setup plus the program to run. `shown` maps a path that the function knows to this machine's."""
    server = spec.web_server
    assert server is not None
    code_dir = where.code_dir
    given = tuple(part.replace(SHIM_PLACE, where.shim) for part in where.program)
    command = given or server.command or (f"/code/{spec.environment.get(BOOTSTRAP_VARIABLE, 'bootstrap')}",)
    return {
        **spec.setup,
        "code_dir": code_dir,
        "command": [shown(argument) for argument in command],
        # As shown to callers.
        "shown_command": " ".join(command),
        "listens": server.listens,
        "port": server.port,
        "health_check": None if server.health_check is None else msgspec.to_builtins(server.health_check),
        "start_timeout_s": WEB_SERVER_START_S,
    }
