"""Finds the Python that a function of a custom runtime starts, and its place on this machine.

Used by `build.builder` to install packages for that Python. Reads the function's command and start script; runs none
of the function's code.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from sesame.deploy.archive import BOOTSTRAP
from sesame.deploy.project import Function
from sesame.model.limits import IMAGE_RUNTIME
from sesame.model.web_server import is_custom
from sesame.sandbox.addresses import DEFAULT_PATH
from sesame.sandbox.runtimes import web_servers
from sesame.sandbox.runtimes.interpreters import Interpreter, probe
from sesame.sandbox.web.setup import BOOTSTRAP_VARIABLE

SCRIPT_BYTES_MAX = 64 * 1024
# Programs installed by packages, which run under the Python that they are installed for.
_SERVERS = "gunicorn|uvicorn|hypercorn|daphne|waitress-serve|flask|streamlit|granian"
_PROGRAM = re.compile(
    rf"(?<![\w./-])((?:/[\w.-]+)*/?python(?:\d(?:\.\d+)?)?|(?:/[\w.-]+)*/?(?:{_SERVERS}))(?![\w./=-])"
)
_SERVER = re.compile(rf"(?:.*/)?(?:{_SERVERS})\Z")
TOOLS_PLACE = "python"
_TOOLS_FOLDER = re.compile(rf"/code/{TOOLS_PLACE}(?:/|\Z)")
_OF_SERVERS = "python3"


def custom_python(function: Function) -> Interpreter | str | None:
    """The interpreter; its name if this machine does not have it; None if the function does not start Python."""
    if not is_custom(function.runtime) or function.runtime == IMAGE_RUNTIME or function.code.path is None:
        return None
    named = _named(function, function.code.path)
    if named is None:
        return None
    search = str(_variables(function).get("PATH") or DEFAULT_PATH)
    return find_python(named, function.runtime, search) or named


def place_of_packages(function: Function) -> str:
    """Where to install packages below the code: `python` if the function's variables look there (fc3), else ""."""
    found = [str(_variables(function).get(name, "")) for name in ("PATH", "PYTHONPATH")]
    return TOOLS_PLACE if any(_TOOLS_FOLDER.match(each) for text in found for each in text.split(":")) else ""


def with_programs(function: Function) -> Function:
    """The function with variables that lead to the programs of packages in its code's root, such as gunicorn."""
    given = _variables(function)
    found = {**given, "PATH": f"/code/bin:{given.get('PATH') or DEFAULT_PATH}"}
    # A program has its own folder on its path for modules, and not the current one.
    found["PYTHONPATH"] = ":".join(filter(None, ("/code", str(given.get("PYTHONPATH") or ""))))
    return msgspec.structs.replace(function, fields={**function.fields, "environmentVariables": found})


def find_python(named: str, runtime: str, search: str = DEFAULT_PATH) -> Interpreter | None:
    """The interpreter that a function of a custom runtime finds by this name or path; `search` is its PATH."""
    for path in _places(named, search):
        answer = probe(path, os.environ)
        if answer is not None:
            return Interpreter(runtime, Path(answer.executable), answer.version, Path(answer.prefix))
    return None


def _named(function: Function, code: Path) -> str | None:
    """The Python that the function's command or start script names."""
    settings = function.fields.get("customRuntimeConfig") or {}
    words: list[str] = []
    for key in ("command", "args"):
        given = settings.get(key) if isinstance(settings, dict) else None
        words += [str(each) for each in given] if isinstance(given, list) else []
    if not words:
        words = [str(_variables(function).get(BOOTSTRAP_VARIABLE) or BOOTSTRAP)]
    for word in words:
        found = _PROGRAM.fullmatch(word)
        if found is not None:
            return _python(found[1])
        script = code / PurePosixPath(word).relative_to("/code") if word.startswith("/code/") else code / word
        if not word.startswith("-") and script.resolve().is_relative_to(code.resolve()) and script.is_file():
            return _in_script(script)
    # `sh -c "exec python3 app.py"`
    return next((_python(found[1]) for word in words if " " in word and (found := _PROGRAM.search(word))), None)


def _in_script(path: Path) -> str | None:
    with path.open("rb") as file:
        text = file.read(SCRIPT_BYTES_MAX)
    if b"\0" in text:
        return None
    for number, line in enumerate(text.decode("utf-8", "replace").splitlines()):
        command = line.partition("#")[0] if number or not line.startswith("#!") else line.removeprefix("#!")
        if found := _PROGRAM.search(command):
            return _python(found[1])
    return None


def _python(program: str) -> str:
    return _OF_SERVERS if _SERVER.match(program) else program


def _places(named: str, search: str) -> Iterator[Path]:
    """Where a sandbox would find the program: at its path, else by name on the function's PATH, on this machine."""
    program = PurePosixPath(named)
    if program.is_absolute():
        yield Path(named)
    own = web_servers.launch().interpreter.parent
    folders = [
        folder for folder in search.split(":") if folder.startswith("/") and not folder.startswith(("/code", "/opt"))
    ]
    # The function's PATH may also name the cloud's own directories (/var/fc/lang/python3.10/bin).
    yield from (Path(folder) / program.name for folder in [*folders, *DEFAULT_PATH.split(":"), str(own)])


def _variables(function: Function) -> dict[str, Any]:
    found = function.fields.get("environmentVariables")
    return found if isinstance(found, dict) else {}
