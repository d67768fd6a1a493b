"""The data passed to a jailed instance: its environment, its commands' environment, and its shim's setup.

Called by `jail.instance`. Paths are those that the function sees: /code, /opt.
"""

from collections.abc import Sequence
from typing import Any

from sesame.sandbox.addresses import CODE_ROOT, DEFAULT_PATH, LAYER_ROOT
from sesame.sandbox.interface import SandboxSpec
from sesame.sandbox.jail.plan import LIBRARY_PATH, SHIM_ROOT, SITE_PACKAGES_ROOT
from sesame.sandbox.launch import Launch
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS
from sesame.sandbox.web.setup import Surroundings, web_setup

HOSTNAME_CHARS = 63
_OF_PYTHON = ("PYTHONPATH", "PYTHONHOME")


def hostname_of(spec: SandboxSpec) -> str:
    return spec.instance_id[:HOSTNAME_CHARS]


def working_dir(spec: SandboxSpec) -> str:
    return CODE_ROOT if spec.image is None else spec.image.working_dir


def environment(spec: SandboxSpec, launch: Launch) -> dict[str, str]:
    composed = {**spec.environment, "FC_INSTANCE_ID": spec.instance_id, "HOSTNAME": hostname_of(spec)}
    if spec.image is not None:
        # An image defines its own search paths.
        return composed
    composed.setdefault("PATH", f"/opt/bin:{DEFAULT_PATH}")
    interpreter = str(launch.interpreter.parent)
    if spec.web_server is None:
        # `python`, started by the function, must be the function's own interpreter.
        composed["PATH"] = f"{interpreter}:{composed['PATH']}"
        for name in _OF_PYTHON:
            composed.pop(name, None)
        composed.setdefault("PYTHONIOENCODING", "utf-8:surrogateescape")
    else:
        # Appended, so that functions that need some Python find one, without shadowing any other program.
        composed["PATH"] = ":".join([*(str(path / "bin") for path in launch.shown), composed["PATH"], interpreter])
    composed.setdefault("LD_LIBRARY_PATH", LIBRARY_PATH)
    return composed


def command_environment(spec: SandboxSpec, launch: Launch) -> dict[str, str]:
    """The environment that the shim sets for programs started by the function; commands get the same."""
    composed = {**environment(spec, launch), "PWD": working_dir(spec)}
    if spec.web_server is None:
        sys_path = [*setup(spec, launch, ())["sys_path"]]
        if launch.site_packages is not None:
            sys_path.append(SITE_PACKAGES_ROOT)
        composed |= {"PYTHONPATH": ":".join(sys_path), "PYTHONDONTWRITEBYTECODE": "1"}
    return composed


def setup(spec: SandboxSpec, launch: Launch, compiled_roots: Sequence[str]) -> dict[str, Any]:
    """`compiled_roots` are the roots of the archives of compiled sources, in the order in which the shim gets them."""
    if spec.web_server is not None:
        packages = SITE_PACKAGES_ROOT if launch.site_packages is not None else ""
        return dict(web_setup(spec, Surroundings(working_dir(spec), SHIM_ROOT, launch.program, packages)))
    version = ".".join(map(str, MINOR_VERSIONS[spec.runtime]))
    layers = [f"{LAYER_ROOT}/python/lib/python{version}/site-packages", f"{LAYER_ROOT}/python"]
    if not spec.layer_dirs:
        layers.clear()
    user = [part for part in spec.environment.get("PYTHONPATH", "").split(":") if part]
    return {
        **spec.setup,
        "runtime": spec.runtime,
        "code_dir": CODE_ROOT,
        "code_root": CODE_ROOT,
        "sys_path": [CODE_ROOT, *layers, *user],
        "notice": spec.setup.get("notice") or launch.notice,
        "compiled": [[root, number] for number, root in enumerate(compiled_roots)],
    }
