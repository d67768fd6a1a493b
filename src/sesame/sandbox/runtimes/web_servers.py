"""How functions are run that are web servers of their own.

Used by `runtimes.lookup`. What starts and watches a function's program is written in Python and needs no package: it
runs under the interpreter that Sesame itself runs under, which is always here.
"""

import sys
from pathlib import Path

import msgspec

from sesame.sandbox.launch import SHIM_PLACE, Launch

_SHIM = "custom"


def launch() -> Launch:
    """The same for every runtime, so that they share a zygote."""
    return Launch(_own_interpreter(), shim=_SHIM, own_network=True, family=_SHIM)


def node_launch(node: Path, runtime: str) -> Launch:
    """A Node.js runtime: our shim, which is a web server, under this Node.js."""
    program = (str(node), f"{SHIM_PLACE}/node/server.js", runtime.removeprefix("nodejs"))
    # What its installation holds, such as npm's packages, where it is none of the system's.
    return msgspec.structs.replace(launch(), family="", shown=(node.resolve().parents[1],), program=program)


def _own_interpreter() -> Path:
    """That of this process, and not a virtual environment's, which would bring its packages."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    base = Path(sys.base_exec_prefix) / "bin" / version
    return base if base.exists() else Path(sys.executable).resolve()
