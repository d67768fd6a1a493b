"""Finds the Node.js of each Node.js runtime on this machine.

Used by `runtimes.lookup` and the commands. Nothing is run to find one: the shim says under which version it runs.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sesame.model.errors import ConfigurationError
from sesame.model.limits import NODE_RUNTIMES

HOW_TO_GET = "install Node.js, or name it by `interpreters` (nodejs20=/path/to/node)"
VERSION_TIMEOUT_S = 10.0
# The first on which the shim (runtime/node) runs: functions of older runtimes are run by a newer Node.js.
OLDEST_MAJOR = 12
_VERSION = re.compile(r"v(\d+\.\d+\.\d+)\s*\Z")


def discover(overrides: Mapping[str, Path], environ: Mapping[str, str]) -> dict[str, Path]:
    """The program of each runtime that has one, as `find` finds it."""
    found = ((runtime, find(runtime, overrides, environ)) for runtime in NODE_RUNTIMES)
    return {runtime: path for runtime, path in found if path is not None}


def find(runtime: str, overrides: Mapping[str, Path], environ: Mapping[str, str]) -> Path | None:
    """What `overrides` name for this runtime, else `node20` on PATH, else `node`.

    Raises `ConfigurationError` for an override that is no program.
    """
    override = overrides.get(runtime)
    if override is not None:
        if not (override.is_file() and os.access(override, os.X_OK)):
            raise ConfigurationError(f"interpreters: {runtime} is set to {override}, which is no program")
        return override
    major = runtime.removeprefix("nodejs")
    own = (f"node{major}",) if int(major) >= OLDEST_MAJOR else ()
    for name in (*own, "node", "nodejs"):
        path = shutil.which(name, path=environ.get("PATH", os.defpath))
        if path is not None:
            return Path(path)
    return None


def version_of(path: Path) -> str:
    """`20.20.2`; "" where the program does not say."""
    try:
        said = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=VERSION_TIMEOUT_S, check=False,
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = _VERSION.match(said)
    return match[1] if match else ""
