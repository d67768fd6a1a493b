"""Reads a folder without a template, or one Python file, as a project: one function, whose handler is in the source.

Called by `deploy.sources`. Guesses only unambiguous values, and reports them; every value can be given instead.
"""

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from sesame.deploy.archive import BOOTSTRAP
from sesame.deploy.project import Code, Function, Note, Place, Project, Service, TemplateError, Trigger, left_out
from sesame.model import limits
from sesame.model.web_server import is_custom

# File names searched first for a handler: those that the cloud's consoles and tools give to the first file.
FILES = ("index.py", "main.py", "app.py", "handler.py", "lambda_function.py")
NAMES = ("handler", "my_handler", "main", "application", "app", "lambda_handler")
SOURCE_BYTES_MAX = 1024 * 1024
NEWEST_FIRST = ("python3.12", "python3.10", "python3.9", "python3", "python2.7")
# Those of a function whose folder is all that there is: an image would have to be named.
RUNTIMES = tuple(each for each in (*limits.SANDBOXED_RUNTIMES, *limits.CUSTOM_RUNTIMES) if each != limits.IMAGE_RUNTIME)
CUSTOM_RUNTIME = "custom"
# The API requires a handler for every function.
UNUSED_HANDLER = "index.handler"
ALL_METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]
_DEF = re.compile(r"^def[ \t]+(\w+)[ \t]*\(([^)]*)\)", re.MULTILINE)
_ASSIGNED = re.compile(r"^(\w+)[ \t]*=[ \t]*(?:flask\.)?(?:Flask|Bottle)\(", re.MULTILINE)
# The CPython version in a wheel's tag: `cp36-cp36m-manylinux1_x86_64` requires CPython 3.6.
_OF_CPYTHON = re.compile(r"^Tag: cp(\d+)-(?!abi3)", re.MULTILINE)
# Not of 2.7, under which pip marked packages without compiled parts so too: the source says whether it is Python 2.
_RUNTIMES = {"36": "python3", "39": "python3.9", "310": "python3.10", "312": "python3.12"}
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The function as described on the command line; None is guessed. `runtimes` are the available ones."""

    service: str | None = None
    function: str | None = None
    handler: str | None = None
    runtime: str | None = None
    http: bool | None = None
    timeout_s: int | None = None
    memory_mb: int | None = None
    environment: dict[str, str] = {}
    runtimes: Sequence[str] = NEWEST_FIRST


class Found(msgspec.Struct, frozen=True):
    """A handler found in a source, and whether it is a WSGI application; or a program that needs none."""

    handler: str
    http: bool
    python2: bool
    program: bool = False


def read(path: Path, wanted: Wanted) -> Project:
    """Raises `TemplateError` if the handler is ambiguous or missing, with the names that were searched for."""
    asked = wanted.runtime or _of_funfile(path)
    found = _found(path, wanted, asked)
    runtime = asked or (CUSTOM_RUNTIME if found.program else _runtime(found, path, wanted.runtimes))
    name = wanted.function or _NOT_IN_A_NAME.sub("-", path.resolve().stem if path.is_file() else path.resolve().name)
    service = wanted.service or "default"
    place = Place(str(path))
    function = Function(
        service=service,
        name=name.strip("-") or "function",
        fields={
            "handler": found.handler,
            "runtime": runtime,
            "timeout": wanted.timeout_s or 60,
            "memorySize": wanted.memory_mb or 128,
            "environmentVariables": wanted.environment,
        },
        code=Code(path=path.resolve(), ignore_file=ignore_file(path), left_out=left_out(runtime)),
        place=place,
    )
    triggers: tuple[Trigger, ...] = ()
    if found.http:
        config = {"authType": "anonymous", "methods": ALL_METHODS}
        triggers = (
            Trigger(
                service=service,
                function=function.name,
                name="http",
                fields={"triggerType": "http", "triggerConfig": config},
                place=place,
            ),
        )
    notes: tuple[Note, ...] = ()
    if found.program and not asked:
        text = (
            f"its program is {BOOTSTRAP}, so the runtime is {runtime}; --runtime names another, --http adds a trigger"
        )
        notes = (Note(place, text),)
    return Project(
        source=path,
        services=(Service(name=service, fields={}, place=place),),
        functions=(function,),
        triggers=triggers,
        notes=notes,
    )


def ignore_file(path: Path) -> Path | None:
    """The folder's file of patterns that are not code, if it has one.

    `.gitignore` does not count: a function may need files that are kept out of the repository, such as a `config.py`
    with keys.
    """
    for name in (".fcignore", ".funignore"):
        if path.is_dir() and (path / name).is_file():
            return path / name
    return None


def _runtime(found: Found, path: Path, runtimes: Sequence[str]) -> str:
    """The only runtime that can read the source or use the folder's compiled packages, otherwise the newest."""
    if found.python2:
        return "python2.7"
    wheels = (wheel.read_text("utf-8", "replace") for wheel in path.glob("*.dist-info/WHEEL"))
    versions = {version for text in wheels for version in _OF_CPYTHON.findall(text)}
    fitting = _RUNTIMES.get(versions.pop()) if len(versions) == 1 else None
    if fitting is not None and fitting in runtimes:
        return fitting
    return next((name for name in NEWEST_FIRST if name in runtimes), "python3.10")


def _of_funfile(path: Path) -> str | None:
    """The runtime for which the folder's Funfile or fun.yml installs packages, if it names one."""
    # Imported late: `sesame invoke` imports this file, and would have to wait for the import of PyYAML.
    from sesame.deploy import fun_install

    installs = fun_install.read(path) if path.is_dir() else None
    if installs is None or not installs.runtime:
        return None
    if installs.runtime not in RUNTIMES:
        text = f"found the runtime '{installs.runtime[:40]}', expected one of {', '.join(RUNTIMES)}, or --runtime"
        raise TemplateError(Place(str(installs.path)), text)
    return installs.runtime


def _found(path: Path, wanted: Wanted, runtime: str | None) -> Found:
    program = Found(wanted.handler or UNUSED_HANDLER, bool(wanted.http), python2=False, program=True)
    has_program = path.is_dir() and (path / BOOTSTRAP).is_file()
    if runtime is not None and is_custom(runtime):
        if has_program:
            return program
        text = (
            f"the runtime {runtime} starts the folder's own program: expected a file {BOOTSTRAP} in it, or a template"
        )
        raise TemplateError(Place(str(path)), f"{text} with customRuntimeConfig")
    if wanted.handler is not None:
        module = wanted.handler.rpartition(".")[0]
        source = (path if path.is_dir() else path.parent) / f"{module}.py"
        seen = [each for each in _handlers(source) if each.handler == wanted.handler] if source.is_file() else []
        return seen[0] if seen else Found(wanted.handler, bool(wanted.http), python2=False)
    if path.is_file():
        files = [path] if path.suffix == ".py" else []
    else:
        files = [path / name for name in FILES if (path / name).is_file()]
        files = files or sorted(path.glob("*.py"))
    candidates = [each for file in files for each in _handlers(file)]
    if wanted.http is not None:
        candidates = [each for each in candidates if each.http == wanted.http]
    named = [each for each in candidates if each.handler.rpartition(".")[2] in NAMES]
    chosen = named[:1] if named else candidates
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        several = ", ".join(each.handler for each in chosen[:5])
        raise TemplateError(Place(str(path)), f"several handlers are possible ({several}): name one with --handler")
    if has_program and runtime is None:
        return program
    raise TemplateError(
        Place(str(path)),
        "there is no template.yml, s.yaml or serverless.yml, and no handler was found in "
        f"{', '.join(file.name for file in files) or 'a Python file'}: expected def handler(event, context) or "
        "def handler(environ, start_response), which --handler names, such as --handler main.my_handler; or a file "
        f"{BOOTSTRAP} that starts a program in any language (custom runtime)",
    )


def _handlers(file: Path) -> list[Found]:
    """Functions with two parameters in the order of their definitions, and WSGI applications by name."""
    with file.open("rb") as opened:
        text = opened.read(SOURCE_BYTES_MAX).decode("utf-8", "replace")
    python2 = _is_python2(text)
    found = [
        Found(f"{file.stem}.{name}", parameters[0].strip() in ("environ", "env"), python2)
        for name, raw in _DEF.findall(text)
        if len(parameters := raw.split(",")) == 2 and not name.startswith("_")
    ]
    return found + [Found(f"{file.stem}.{name}", http=True, python2=python2) for name in _ASSIGNED.findall(text)]


def needs_python2(file: Path) -> bool:
    """Whether only Python 2 can read the source."""
    with file.open("rb") as opened:
        return _is_python2(opened.read(SOURCE_BYTES_MAX).decode("utf-8", "replace"))


def _is_python2(text: str) -> bool:
    """Whether Python 3 cannot parse the text: it has `print` statements, `except A, b` or similar."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return bool(re.search(r"^\s*(print\s+[\"'\w]|exec\s+[\"']|raise \w+, )|except \w+, \w+:", text, re.MULTILINE))
    return False
