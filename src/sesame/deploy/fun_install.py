"""Reads the packages that Funcraft's `Funfile` or `fun.yml` installs, and adds the environment that Funcraft sets.

Used by `deploy.funcraft` and `build.builder`. Only extracts the names of pip packages; runs no command.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from sesame.deploy import yaml_source
from sesame.deploy.project import TemplateError
from sesame.model.errors import ConfigurationError

FUNFILE, TASKS = "Funfile", "fun.yml"
BYTES_MAX = 256 * 1024
# Where Funcraft installs Python packages, below the code (reference/conventions.md §4.1).
USER_BASE = ".fun/python"
_ROOT, _CODE = "/code/.fun/root", "/code"
_BINARIES = ("/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/sbin", "/bin")
_LIBRARIES = ("/usr/local/lib", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/lib", "/lib/x86_64-linux-gnu")
_PATHS: Mapping[str, tuple[str, ...]] = {
    "PATH": (
        *(f"{_ROOT}{path}" for path in _BINARIES), _CODE, f"{_CODE}/node_modules/.bin", f"{_CODE}/{USER_BASE}/bin",
        f"{_CODE}/.fun/node_modules/.bin", *_BINARIES,
    ),
    "LD_LIBRARY_PATH": (*(f"{_ROOT}{path}" for path in _LIBRARIES), _CODE, f"{_CODE}/lib", "/usr/local/lib"),
}  # fmt: skip
# pip's options without and with a value; package indexes come from pip's own configuration.
_FLAGS = ("-u", "--upgrade", "--no-cache-dir", "-q", "--quiet", "--user", "--no-deps")
_INDEX = ("-i", "--index-url", "--extra-index-url", "--trusted-host")
_HERE = ("-t", "--target")
_LISTED = ("-r", "--requirement")
_OWN_PLACES = (".", "./", _CODE, f"{_CODE}/", ".fun/python", f"{_CODE}/{USER_BASE}")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PIP = re.compile(r"pip(?:2|3)?(?:\.\d+)?")
# Words that need a shell, such as `|| true` and `$NAME`, and paths outside the code.
_NO_PACKAGE = re.compile(r"[|&<>()#/~]|\d>|.*[$`]")


class Installs(msgspec.Struct, frozen=True):
    """`packages` are arguments of pip; `left_out` are the commands that are not executed, verbatim.

    `runtime` is the one that the file names; "" if it names none.
    """

    path: Path
    packages: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    runtime: str = ""


def read(folder: Path) -> Installs | None:
    """The packages of a function's code; None if it has no such file. Raises `ConfigurationError` if it is invalid."""
    if (folder / FUNFILE).is_file():
        return _funfile(folder / FUNFILE)
    if (folder / TASKS).is_file():
        return _tasks(folder / TASKS)
    return None


def asked(folder: Path) -> bool:
    """Whether the code has packages installed by Funcraft, or a file that lists some."""
    return any((folder / name).exists() for name in (FUNFILE, TASKS, ".fun/python", ".fun/root"))


def variables(given: Mapping[str, str]) -> dict[str, str]:
    """The function's variables, with Funcraft's paths appended."""
    found = dict(given)
    for name, paths in _PATHS.items():
        own = found.get(name, "").split(":") if found.get(name) else []
        found[name] = ":".join(dict.fromkeys((*own, *paths)))
    found.setdefault("PYTHONUSERBASE", f"{_CODE}/{USER_BASE}")
    return found


def _funfile(path: Path) -> Installs:
    try:
        with path.open("rb") as file:
            text = file.read(BYTES_MAX + 1).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if len(text) > BYTES_MAX:
        raise ConfigurationError(f"{path} has more than {BYTES_MAX} bytes")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    packages: list[str] = []
    left_out: list[str] = []
    runtime = ""
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction.upper() == "RUNTIME":
            runtime = rest.strip()
        if not instruction or instruction.upper() == "RUNTIME":
            continue
        commands = list(_commands(rest)) if instruction.upper() == "RUN" else [None]
        wanted = [None if words is None else _pip(words) for words in commands]
        if all(each is not None for each in wanted):
            packages += [package for each in wanted for package in each or ()]
        else:
            left_out.append(" ".join(line.split()))
    return Installs(path, tuple(dict.fromkeys(packages)), tuple(left_out), runtime)


def _commands(text: str) -> Iterator[list[str] | None]:
    """The commands in a shell line, split into words; None for a command that needs a shell."""
    for command in re.split(r"&&|;", text):
        try:
            words = shlex.split(command)
        except ValueError:
            yield None
            continue
        if words:
            yield words


def _pip(words: list[str]) -> list[str] | None:
    """The packages in `[fun-install] pip [options] install [options] PACKAGE…`; None for any other command."""
    if _ASSIGNMENT.match(words[0]):
        return None  # Variables change how a package is built.
    if words[0] == "fun-install":
        words = words[1:]
    if not words or not _PIP.fullmatch(words[0]) or "install" not in words:
        return None
    words = words[1:]
    words.remove("install")
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in (*_INDEX, *_HERE, *_LISTED):
            value = value if equals else next(rest, "")
            if (name in _HERE and value not in _OWN_PLACES) or (name in _LISTED and value != "requirements.txt"):
                return None
        elif word.lower() not in _FLAGS:
            if word.startswith("-") or _NO_PACKAGE.match(word):
                return None
            found.append(word)
    return found


def _tasks(path: Path) -> Installs:
    packages: list[str] = []
    left_out: list[str] = []
    try:
        root = yaml_source.read(path).mapping("runtime and tasks")
        runtime = root["runtime"].text() if "runtime" in root and root["runtime"].value is not None else ""
        tasks = root["tasks"].items("tasks") if "tasks" in root and root["tasks"].value else []
        for task in tasks:
            given = task.mapping("a task")
            pip, target = given.get("pip"), given.get("target")
            wanted = None
            if pip is not None and (target is None or target.text() in _OWN_PLACES) and "env" not in given:
                words = [each.text() for each in pip.items()] if isinstance(pip.value, list) else pip.text().split()
                wanted = _pip(["pip", "install", *words])
            if wanted is None:
                left_out.append(
                    ", ".join(f"{key}: {' '.join(str(each.plain()).split())}" for key, each in given.items())
                )
            else:
                packages += wanted
    except TemplateError as error:
        raise ConfigurationError(str(error)) from error
    return Installs(path, tuple(dict.fromkeys(packages)), tuple(left_out), runtime)
