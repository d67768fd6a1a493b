"""The start of a bare interpreter in somebody else's box: bwrap and runc, each where it is installed and works here.

Used by cold.py, as neighbours in time of first calls. The namespaces are those of a jailed instance.
Never measures: what it gives are commands.
"""

import itertools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which

import click

from sesame.sandbox.runtimes.interpreters import Interpreter

NAMESPACES = ("pid", "ipc", "uts", "mount")
# What an interpreter needs of the host beside its own prefix; links among them are made as they are.
SYSTEM = ("usr", "bin", "lib", "lib64", "etc")
TRY_TIMEOUT_S = 30.0

Command = Callable[[], list[str]]
_names = itertools.count(1)


def boxes(interpreter: Interpreter, folder: Path) -> dict[str, Command]:
    """By name what gives the command of one start. `folder` is for files, and is kept until the last start."""
    found: dict[str, Command] = {}
    for name, make in (("bwrap", _bwrap), ("runc", _runc)):
        program = which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if program is None:
            click.echo(f"  {name} is not installed: not compared", err=True)
            continue
        command = make(program, interpreter, folder)
        if why := _fails(command()):
            click.echo(f"  {name} does not work here, not compared: {why}", err=True)
            continue
        found[f"{name} + {interpreter.path.name} -c pass"] = command
    return found


def _bwrap(program: str, interpreter: Interpreter, _folder: Path) -> Command:
    walls = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-pid", "--unshare-ipc"]
    command = [program, *walls, "--unshare-uts", str(interpreter.path), "-c", "pass"]
    return lambda: command


def _runc(program: str, interpreter: Interpreter, folder: Path) -> Command:
    """A bundle whose root holds the system's folders and the interpreter's, read-only, and nothing else."""
    bundle = folder / "bundle"
    root = bundle / "rootfs"
    root.mkdir(parents=True)
    (root / "proc").mkdir()
    (root / "dev").mkdir()
    shown = [interpreter.prefix]
    for name in SYSTEM:
        place = Path("/", name)
        if place.is_symlink():
            (root / name).symlink_to(os.readlink(place))
        elif place.is_dir():
            shown.append(place)
    for place in shown:
        root.joinpath(*place.parts[1:]).mkdir(parents=True, exist_ok=True)
    (bundle / "config.json").write_text(json.dumps(_bundle(interpreter, shown)))
    state = folder / "runc"
    return lambda: [
        program,
        "--root",
        str(state),
        "run",
        "--bundle",
        str(bundle),
        f"sesame-{os.getpid()}-{next(_names)}",
    ]


def _bundle(interpreter: Interpreter, shown: list[Path]) -> dict[str, object]:
    binds = [
        {"destination": str(place), "source": str(place), "type": "none", "options": ["rbind", "ro", "nosuid"]}
        for place in shown
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False, "cwd": "/", "args": [str(interpreter.path), "-c", "pass"], "env": ["PATH=/usr/bin:/bin"],
            "user": {"uid": 0, "gid": 0}, "noNewPrivileges": True, "capabilities": {},
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            *binds,
        ],
        "linux": {"namespaces": [{"type": kind} for kind in NAMESPACES]},
    }  # fmt: skip


def _fails(command: list[str]) -> str:
    """Why a start does not work here, or nothing."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=TRY_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no end within {TRY_TIMEOUT_S:g} s"
    lines = done.stdout.strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"exit status {done.returncode}")
