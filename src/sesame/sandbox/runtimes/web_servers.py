"""How to launch functions that bring their own web server.

Used by `runtimes.lookup`. The monitor that starts and watches a function's program is written in Python and needs no
packages: it runs under the interpreter of Sesame itself, which is always available.
"""

import sys
from pathlib import Path

import msgspec

from sesame.sandbox.launch import MODULES_PLACE, SHIM_PLACE, Launch

_SHIM = "custom"


def launch() -> Launch:
    """The same for every runtime, so that they share a zygote."""
    return Launch(_own_interpreter(), shim=_SHIM, own_network=True, family=_SHIM)


def node_launch(node: Path, runtime: str, packages: Path | None = None) -> Launch:
    """A Node.js runtime: our shim, which is a web server, under this Node.js. `packages` contains `node_modules`."""
    program = (str(node), f"{SHIM_PLACE}/node/server.js", runtime.removeprefix("nodejs"), MODULES_PLACE)
    # Show its installation, such as npm's packages, if that lies outside the system's directories.
    shown = (node.resolve().parents[1],)
    return msgspec.structs.replace(launch(), site_packages=packages, family="", shown=shown, program=program)


def _own_interpreter() -> Path:
    """The interpreter of this process; in a virtual environment the base one, so that no packages come along."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    base = Path(sys.base_exec_prefix) / "bin" / version
    return base if base.exists() else Path(sys.executable).resolve()
