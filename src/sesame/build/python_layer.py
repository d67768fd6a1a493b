"""Lays out a layer from a CPython of this machine, in the same place as the cloud's: /opt/python3.10/bin/python3.10.

Used by `cli.layers_of_cloud`. CPython finds its standard library relative to its program, so a copy of both works at
any path. Runs no program.
"""

import shutil
from pathlib import Path

from sesame.build import programs
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import Interpreter

# Installed packages belong to this machine; the rest is not needed by functions or needs a display.
_LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", "site-packages", "dist-packages", "config-*", "test", "tests", "idlelib", "tkinter", "turtledemo",
    "turtle.py", "_tkinter*", "_test*",
)  # fmt: skip


def lay_out(interpreter: Interpreter, folder: Path) -> int:
    """Fills the empty folder; returns the number of shared libraries that the interpreter and its modules need.

    Raises `ConfigurationError` if the standard library is not beside the interpreter.
    """
    name = "python{}.{}".format(*interpreter.minor)
    library = _standard_library(interpreter, name)
    root = folder / name
    try:
        (root / "bin").mkdir(parents=True)
        shutil.copyfile(interpreter.path, root / "bin" / name)
        (root / "bin" / name).chmod(0o755)
        for link in ("python3", "python"):
            (root / "bin" / link).symlink_to(name)
        shutil.copytree(
            library, root / library.parent.name / name, ignore=_LEFT_OUT, ignore_dangling_symlinks=True
        )  # fmt: skip
    except (OSError, shutil.Error) as error:
        raise ConfigurationError(f"{interpreter.path} and {library} cannot be copied: {error}") from error
    modules = sorted((library / "lib-dynload").glob("*.so"))
    return _libraries([interpreter.path, *(each for each in modules if not _is_left_out(each))], folder / "lib")


def _standard_library(interpreter: Interpreter, name: str) -> Path:
    # Fedora and its derivatives use lib64, and their interpreters search there.
    for place in ("lib", "lib64"):
        folder = interpreter.prefix / place / name
        if (folder / "os.py").is_file() and (folder / "lib-dynload").is_dir():
            return folder
    raise ConfigurationError(
        f"{interpreter.path} has no standard library in {interpreter.prefix}/lib/{name}: install a whole CPython "
        f"{interpreter.version}, for example by `pyenv install {interpreter.version}`"
    )


def _is_left_out(module: Path) -> bool:
    return bool(_LEFT_OUT(str(module.parent), [module.name]))


def _libraries(files: list[Path], folder: Path) -> int:
    """Copies the libraries that the files need; if two have the same name, the earlier file's is used."""
    found: dict[str, Path] = {}
    for file in files:
        for name, path in programs.read(file).libraries.items():
            found.setdefault(Path(name).name, path)
    if found:
        folder.mkdir()
    for name, path in found.items():
        shutil.copyfile(path, folder / name)
        (folder / name).chmod(0o755)
    return len(found)
