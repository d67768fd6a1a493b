"""`sesame layers get`: rebuilds a layer of the cloud's public list from this machine's programs or a package index.

`cli.layers` defines the command. A function that uses the cloud's ARN finds the layer by its name and version.
"""

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from sesame.cli import output
from sesame.cli.client import Refused
from sesame.cli.layer_programs import lay_out_known
from sesame.cli.layer_publishing import make_version, versions_from
from sesame.cli.server_options import Session, at_server_with
from sesame.model import limits
from sesame.model.errors import ConfigurationError
from sesame.model.layer import parse_layer_arn

VERSION_MAX = 100
_SDKS = (
    "aliyun-fc2", "aliyun-log-python-sdk", "aliyun-mns-sdk", "alibabacloud-fc-open20210406",
    *(
        f"aliyun-python-sdk-{each}"
        for each in ("cdn", "core", "dds", "ecs", "fnf", "imm", "iot", "kms", "ram", "rds", "sts", "vpc")
    ),
    "elasticsearch", "requests",
)  # fmt: skip
# Packages in the cloud's public layers, by the part of the layer's name after the Python (its documentation, 2026-11).
PACKAGES = {
    "Aliyun-SDK": _SDKS,
    "Package-Collection": (
        *_SDKS, "aiohttp", "cbor", "chardet", "Flask", "lxml", "numpy", "oss2", "Pillow", "PyMySQL", "PyYAML", "Scrapy",
        "tablestore", "Wand",
    ),
    "Flask2x": ("flask>=2,<3", "werkzeug<3"),
    "Flask3x": ("flask>=3,<4",),
    "OSS2": ("oss2",),
    "PyMongo4x": ("pymongo>=4,<5",),
    "Pandas1x": ("pandas>=1,<2", "numpy<2"),
    "Pandas2x": ("pandas>=2,<3",),
    "SciPy1x": ("scipy>=1,<2",),
    "Opencv4x": ("opencv-python-headless>=4,<5",),
    "TensorFlow2x": ("tensorflow-cpu>=2,<3",),
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
_PYTHON = re.compile(r"Python(\d)(\d*)x?-(.+)\Z")
_INTERPRETER = re.compile(r"Python(3)(\d{1,2})\Z")
_NODE = re.compile(r"Nodejs(\d+)\Z")
_PROGRAMS = re.compile(r"(FFmpeg|Poppler)", re.IGNORECASE)
_RUNTIMES = {"27": "python2.7", "36": "python3", "39": "python3.9", "310": "python3.10", "312": "python3.12"}
_RUNTIME = "python3.10"
CUSTOM = "custom"


class Wanted(msgspec.Struct, frozen=True):
    name: str
    version: int


class Order(msgspec.Struct, frozen=True):
    """The command line's choice of packages; "" and none if it leaves them open."""

    packages: tuple[str, ...]
    runtime: str | None


@click.command("get")
@click.argument("layer")
@click.argument("packages", nargs=-1)
@click.option(
    "-r", "--runtime", type=click.Choice((*limits.SANDBOXED_RUNTIMES, CUSTOM)),
    help=f"Runtime for which packages are installed [default: from the layer's name, else {_RUNTIME}].",
)  # fmt: skip
@at_server_with("interpreters", "runtimes_dir", "sandbox", "cpu", "account_id", "region")
def get(session: Session, layer: str, packages: tuple[str, ...], runtime: str | None) -> None:
    """Publishes a layer of the cloud's public list, built from this machine's programs or a package index.

    LAYER is its ARN or its name. For layers of Python packages, Sesame knows the contents, or takes them from PACKAGES.
    Python310 and similar layers contain this machine's CPython, Nodejs20 and similar its Node.js, FFmpeg and Poppler
    its programs.
    """
    wanted = _wanted(layer)
    session.announce(f"Making the layer {wanted.name}")
    versions = _versions(session, wanted.name)
    if wanted.version in versions:
        session.show(
            versions[wanted.version], lambda: iter([f"{wanted.name}  version {wanted.version}  already exists"])
        )
        return
    with tempfile.TemporaryDirectory(prefix="sesame-layer-") as scratch:
        folder = Path(scratch) / "layer"
        folder.mkdir(mode=0o755)
        described = _lay_out(session, wanted.name, Order(packages, runtime), folder)
        for _ in range(wanted.version):
            # The cloud's ARN contains a number, and each local version gets the next number.
            made = make_version(session, wanted.name, folder, limits.SANDBOXED_RUNTIMES, described)
            if made["version"] >= wanted.version:
                break
    if made["version"] != wanted.version:
        raise ConfigurationError(
            f"the layer {wanted.name} has had a version {wanted.version}, which was deleted, and no number is given "
            f"twice: it is version {made['version']} now; stand it in by a line of [layers] in sesame.toml, "
            f'"{layer}" = "{wanted.name}", and start Sesame again'
        )
    session.show(made, lambda: iter([f"{wanted.name}  version {made['version']}  {made['arn']}  {described}"]))


def _wanted(layer: str) -> Wanted:
    found = parse_layer_arn(layer)
    if found is None and _NAME.match(layer):
        return Wanted(layer, 1)
    if found is None:
        raise ConfigurationError(f"'{layer}' is neither the ARN of a layer nor a layer's name")
    if int(found[1]) > VERSION_MAX:
        raise ConfigurationError(
            f"'{layer}': versions up to {VERSION_MAX} are made; `sesame layers publish {found[0]} FOLDER`, and a line "
            "of [layers] in sesame.toml, do it for this one"
        )
    return Wanted(found[0], int(found[1]))


def _versions(session: Session, name: str) -> dict[int, Any]:
    try:
        return {each["version"]: each for each in versions_from(session, name)}
    except Refused as refused:
        if refused.code != "LayerNotFound":
            raise
        return {}


def _lay_out(session: Session, name: str, order: Order, folder: Path) -> str:
    """Fills the folder; returns a description of its contents."""
    python = _PYTHON.match(name)
    packages = order.packages or (PACKAGES.get(python[3], ()) if python else ())
    if packages:
        named = _RUNTIMES.get(python[1] + python[2], _RUNTIME) if python else _RUNTIME
        return _packages(session, packages, order.runtime or named, folder)
    if interpreter := _INTERPRETER.match(name):
        return lay_out_python(session, (int(interpreter[1]), int(interpreter[2])), folder)
    if node := _NODE.match(name):
        return lay_out_node(session, node[1], folder)
    if programs := _PROGRAMS.match(name):
        return lay_out_known(session, programs[1].lower(), folder)
    if python:
        raise ConfigurationError(
            f"what the layer {name} holds is not known: name its packages, as `sesame layers get {name} PACKAGE…` "
            "(its README at github.com/awesome-fc/awesome-layers lists them)"
        )
    raise ConfigurationError(
        f"what the layer {name} holds is not known: put it into a folder, as it lies below /opt, and "
        f"`sesame layers publish {name} FOLDER`; or name packages of Python, as `sesame layers get {name} PACKAGE…`"
    )


def _packages(session: Session, packages: Sequence[str], runtime: str, folder: Path) -> str:
    # Imported late: only this command needs it.
    from sesame.build import requirements
    from sesame.build.custom_python import find_python
    from sesame.build.installer import Installer, default_cache
    from sesame.sandbox.runtimes.lookup import Runtimes

    settings = session.settings
    listed = folder.parent / "requirements.txt"
    listed.write_text("".join(f"{each}\n" for each in packages))
    wanted = requirements.read(listed)
    if wanted is None:
        raise ConfigurationError(f"{shlex.join(packages)} names no packages")
    known = Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir(), (runtime,))
    own = find_python("python3", runtime) if runtime == CUSTOM else None
    if runtime == CUSTOM and own is None:
        raise ConfigurationError("custom runtimes find no python3 on this machine: install it")
    installed = Installer(default_cache(), known.found, output.note, fresh=False).install(wanted, runtime, own)
    shutil.copytree(installed.folder, folder / "python", symlinks=True)
    return f"{', '.join(packages)} for {own.version if own else runtime}"


def lay_out_python(session: Session, minor: tuple[int, int], folder: Path) -> str:
    """Puts CPython where the cloud's layers have it, /opt/python3.10/bin, which their functions add to PATH."""
    # Imported late: only this command needs it.
    from sesame.build import python_layer
    from sesame.sandbox.runtimes import interpreters, places
    from sesame.sandbox.runtimes.lookup import Runtimes

    settings, version = session.settings, f"{minor[0]}.{minor[1]}"
    root = settings.resolved_runtimes_dir()
    if runtime := _RUNTIMES.get(version.replace(".", "")):
        found = Runtimes.look_up(settings.interpreters, root, (runtime,)).found.get(runtime)
    else:
        found = interpreters.find(minor, os.environ, places.own_interpreters(root))
    if found is None or found.minor != minor:
        raise ConfigurationError(f"there is no CPython {version} on this machine: `pyenv install {version}` brings it")
    python_layer.lay_out(found, folder)
    return f"CPython {found.version} of this machine"


def lay_out_node(session: Session, major: str, folder: Path) -> str:
    """Puts Node.js where the cloud's layers have it: /opt/nodejs20/bin/node. Its libraries are in /opt/lib as usual."""
    # Imported late: only this command needs it.
    from sesame.build import program_layer
    from sesame.build import programs as elf
    from sesame.sandbox.runtimes import nodes

    path = nodes.find(f"nodejs{major}", session.settings.interpreters, os.environ)
    if path is None:
        raise ConfigurationError(f"there is no Node.js on this machine: {nodes.HOW_TO_GET}")
    program = path.resolve()
    program_layer.lay_out([("node", elf.read(program))], folder)
    (folder / f"nodejs{major}").mkdir()
    (folder / "bin").rename(folder / f"nodejs{major}" / "bin")
    version = nodes.version_of(program)
    if version.partition(".")[0] != major:
        output.note(f"the Node.js of this machine is {version}, and not {major}")
    return f"Node.js {version} of this machine"
