"""Translates the paths that functions expect (/code, /opt, /tmp) for drivers that cannot mount anything there.

Used by `process.driver` for a process's environment and its shim's setup. Changes only search paths and the platform's
own variables; the user's variables are passed on unchanged.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sesame.sandbox.interface import SandboxSpec
from sesame.sandbox.launch import Launch
from sesame.sandbox.web.setup import Surroundings, web_setup

CODE_ROOT = "/code"
LAYER_ROOT = "/opt"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SEARCH_PATHS = ("PATH", "LD_LIBRARY_PATH", "PYTHONUSERBASE", "NODE_PATH", "FC_FUNC_CODE_PATH")
_VERSIONS = {"python2.7": "2.7", "python3": "3.6", "python3.9": "3.9", "python3.10": "3.10", "python3.12": "3.12"}


def environment(spec: SandboxSpec, interpreter: Path, temporary: Path) -> dict[str, str]:
    """The process's environment. Lacks PYTHONPATH, so that the shim is imported before any user code."""
    composed = dict(spec.environment)
    composed.setdefault("PATH", DEFAULT_PATH)
    for name in _SEARCH_PATHS:
        if name in composed:
            composed[name] = os.pathsep.join(_translated(composed[name], spec))
    composed["TMPDIR"] = str(temporary)
    composed["FC_INSTANCE_ID"] = spec.instance_id
    if spec.web_server is not None:
        # Appended, so that functions that need some Python find one, without shadowing any other program.
        composed["PATH"] = f"{composed['PATH']}{os.pathsep}{interpreter.parent}"
        composed["PWD"] = str(spec.code_dir)
        return composed
    for name in ("PYTHONPATH", "PYTHONHOME"):
        composed.pop(name, None)
    # `python`, started by the function, must be the function's own interpreter.
    composed["PATH"] = f"{interpreter.parent}{os.pathsep}{composed['PATH']}"
    composed.setdefault("PYTHONIOENCODING", "utf-8:surrogateescape")
    return composed


def setup(spec: SandboxSpec, *, notice: str) -> Mapping[str, Any]:
    """The engine's setup with this machine's directories (reference/runtime.md §2.6)."""
    version = _VERSIONS.get(spec.runtime, "3")
    layers = [
        layer / part for layer in spec.layer_dirs for part in (f"python/lib/python{version}/site-packages", "python")
    ]
    user = [part for part in _translated(spec.environment.get("PYTHONPATH", ""), spec) if part]
    return {
        **spec.setup,
        "runtime": spec.runtime,
        "code_dir": str(spec.code_dir),
        "code_root": CODE_ROOT,
        "sys_path": [str(spec.code_dir), *map(str, layers), *user],
        "notice": spec.setup.get("notice") or notice,
        "compiled": _compiled(spec),
    }


def setup_of_web_server(spec: SandboxSpec, shim: str, launch: Launch) -> Mapping[str, Any]:
    """Like `setup`, for web servers. `shim` is the directory of the shims."""
    where = Surroundings(str(spec.code_dir), shim, launch.program, str(launch.site_packages or ""))
    return web_setup(spec, where, lambda argument: os.pathsep.join(_translated(argument, spec)))


def _compiled(spec: SandboxSpec) -> list[list[str]]:
    roots = (spec.code_dir, *spec.layer_dirs)
    return [[str(root), str(path)] for root, path in zip(roots, spec.compiled, strict=False) if path.exists()]


def _translated(value: str, spec: SandboxSpec) -> Iterator[str]:
    for part in value.split(os.pathsep):
        if part == CODE_ROOT or part.startswith(CODE_ROOT + "/"):
            yield str(spec.code_dir) + part[len(CODE_ROOT) :]
        elif part == LAYER_ROOT or part.startswith(LAYER_ROOT + "/"):
            # The cloud merges layers; on conflict the earlier one wins.
            yield from (str(layer) + part[len(LAYER_ROOT) :] for layer in spec.layer_dirs)
        else:
            yield part
