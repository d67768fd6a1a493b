"""The setup that a web server's monitor receives at the start of an instance (docs/wire-protocol.md).

Used by the drivers; read by runtime/custom/monitor.py.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from sesame.sandbox.interface import SandboxSpec
from sesame.sandbox.launch import MODULES_PLACE, SHIM_PLACE

# reference/runtime.md §12: how long a server may take until it listens.
WEB_SERVER_START_S = 120.0
BOOTSTRAP_VARIABLE = "BOOTSTRAP_FILE"
# Where functions in Node.js find the packages of layers.
NODE_LAYER = "/opt/nodejs/node_modules"


class Surroundings(msgspec.Struct, frozen=True):
    """Paths inside the instance, and the runtime's own program, if any. `packages` are those of the runtime, or ""."""

    code_dir: str
    shim: str
    program: tuple[str, ...]
    packages: str = ""


def web_setup(spec: SandboxSpec, where: Surroundings, shown: Callable[[str], str] = str) -> Mapping[str, Any]:
    """The engine's setup plus the program to run. `shown` maps a path that the function knows to this machine's."""
    server = spec.web_server
    assert server is not None
    code_dir = where.code_dir
    # The runtime's own program is at a place of this machine already.
    given = [_placed(part, where, shown) for part in where.program]
    command = server.command or (f"/code/{spec.environment.get(BOOTSTRAP_VARIABLE, 'bootstrap')}",)
    return {
        **spec.setup,
        "code_dir": code_dir,
        "command": given or [shown(argument) for argument in command],
        # As shown to callers.
        "shown_command": " ".join(given or command),
        "listens": server.listens,
        "port": server.port,
        "health_check": None if server.health_check is None else msgspec.to_builtins(server.health_check),
        "start_timeout_s": WEB_SERVER_START_S,
    }


def _placed(part: str, where: Surroundings, shown: Callable[[str], str]) -> str:
    if part == MODULES_PLACE:
        return os.pathsep.join(_modules(where, shown))
    return part.replace(SHIM_PLACE, where.shim)


def _modules(where: Surroundings, shown: Callable[[str], str]) -> Iterator[str]:
    # Several directories, or none, where layers are not merged.
    if layers := shown(NODE_LAYER):
        yield layers
    if where.packages:
        yield f"{where.packages}/node_modules"
