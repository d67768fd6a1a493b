"""Finds the Node.js of each Node.js runtime on this machine.

Used by `runtimes.lookup` and the commands. Runs nothing to find one: the shim reports its version.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sesame import timed_programs
from sesame.model.errors import ConfigurationError
from sesame.model.limits import NODE_RUNTIMES

HOW_TO_GET = "install Node.js, or name it by `interpreters` (nodejs20=/path/to/node)"
VERSION_TIMEOUT_S = 10.0
# The oldest version that runs the shim (runtime/node). Functions of older runtimes run on a newer Node.js.
OLDEST_MAJOR = 12
_VERSION = re.compile(r"v(\d+\.\d+\.\d+)\s*\Z")


def discover(overrides: Mapping[str, Path], environ: Mapping[str, str]) -> dict[str, Path]:
    """The program of each runtime that has one, see `find`."""
    found = ((runtime, find(runtime, overrides, environ)) for runtime in NODE_RUNTIMES)
    return {runtime: path for runtime, path in found if path is not None}


def find(runtime: str, overrides: Mapping[str, Path], environ: Mapping[str, str]) -> Path | None:
    """The program that `overrides` names for this runtime, else `node20` (by version) on PATH, else `node`.

    Raises `ConfigurationError` if an override is not a program.
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
    """For example `20.20.2`; "" if the program does not tell."""
    try:
        output = timed_programs.run([path, "--version"], VERSION_TIMEOUT_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = _VERSION.match(output)
    return match[1] if match else ""
