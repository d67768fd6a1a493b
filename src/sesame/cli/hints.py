"""Hints for newcomers' most common mistakes, printed on stderr beside a function's error in the cloud's words.

Called by `sesame invoke`, for local handlers and for deployed functions.
"""

import collections.abc
import glob
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sesame.cli import output
from sesame.sandbox.runtimes import node_packages

_IMPORT_FAILED = ("ImportModuleError", "ModuleNotFoundError", "ImportError")
# Python 2.7 prints no quotes.
_NO_MODULE = re.compile(r"No module named '?([\w.]+)'?")
# A package of Node.js; files have a name that begins with a dot or a slash.
_NO_PACKAGE = re.compile(r"Cannot find (?:module|package) '((?:@[\w.~-]+/)?[\w~-][\w.~-]*)[/'\\]")
# Names that newer Pythons have removed, and the first version without them.
_NO_NAME = re.compile(r"cannot import name '(\w+)' from '(\w+)'|module '(\w+)' has no attribute '(\w+)'")
_REMOVED = {
    **{f"collections.{name}": "3.10" for name in collections.abc.__all__},
    "inspect.getargspec": "3.11", "asyncio.coroutine": "3.11", "time.clock": "3.8", "fractions.gcd": "3.9",
    "base64.encodestring": "3.9", "base64.decodestring": "3.9",
    "imp": "3.12", "distutils": "3.12", "asyncore": "3.12", "asynchat": "3.12", "smtpd": "3.12", "six.moves": "3.12",
    "formatter": "3.10", "parser": "3.10", "symbol": "3.10",
}  # fmt: skip

# Python's message for an ASGI application called like a handler, with two arguments.
_ASGI = "missing 1 required positional argument: 'send'"


class _Error(msgspec.Struct, rename="camel"):
    error_type: str = ""
    error_message: str = ""


def of_names(code: Path, *handlers: str) -> Iterator[str]:
    """Explains for each non-empty handler or initializer what form its name should have, or which file is missing."""
    for handler in filter(None, handlers):
        module, dot, name = handler.rpartition(".")
        if not (dot and module and name):
            yield f"A handler is MODULE.FUNCTION, as main.my_handler for my_handler in main.py; found '{handler}'."
            continue
        if name == "py" and (file := code / f"{module}.py").is_file():
            example = f"{file.stem}.FUNCTION"
            yield f"A handler is MODULE.FUNCTION, and '{handler}' is a file: name a function of it, as {example}."
            continue
        place = code.joinpath(*module.replace("/", ".").split("."))
        if not place.is_dir() and next(place.parent.glob(f"{glob.escape(place.name)}.*"), None) is None:
            yield f"There is no {place.relative_to(code)}.py in {code}; --code names the folder of the code."


def of_error(payload: bytes, own_module: str = "") -> Iterator[str]:
    """Hints for a function's error; none for a missing `own_module`, the handler's own."""
    try:
        error = msgspec.json.decode(payload, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if error.error_type == "TypeError" and _ASGI in error.error_message:
        yield (
            "This is an ASGI application, such as FastAPI's, but handlers must be WSGI applications or functions: run "
            "it in a custom runtime (docs/custom-runtimes.md, Frameworks)."
        )
    text = payload.decode("utf-8", "replace")
    removed = _removed(text)
    if removed is not None:
        yield (
            f"Python {removed[1]} removed {removed[0]}: this code, or a package beside it, needs an older version. Use "
            "newer packages, or an older runtime (`--runtime` of `deploy`, or the template's runtime)."
        )
        return
    package = _NO_PACKAGE.search(text) if error.error_type in _IMPORT_FAILED else None
    if package is not None:
        shipped = any(package[1] in node_packages.names(runtime) for runtime in node_packages.LISTS)
        yield (
            f"There is no package '{package[1]}' in the code or its runtime. The cloud ships it with Node.js: run "
            f"`{output.own_name()} runtimes install {node_packages.ALL}` on the server's machine."
            if shipped
            else f"There is no package '{package[1]}' in the code: run `npm install {package[1]}` in the code's "
            "folder, and deploy it again."
        )
        return
    missing = _NO_MODULE.search(text)
    if error.error_type not in _IMPORT_FAILED or missing is None or missing[1] == own_module:
        return
    command = output.own_name()
    yield (
        f"There is no module '{missing[1]}' in the code or its runtime. Install packages that the cloud ships with "
        f"`{command} runtimes install` on the server's machine, others with requirements.txt and `{command} build`."
    )


def _removed(text: str) -> tuple[str, str] | None:
    """The removed name in an error message, and the first Python version without it."""
    name = _NO_NAME.search(text)
    if name is not None:
        whole = f"{name[2]}.{name[1]}" if name[1] else f"{name[3]}.{name[4]}"
        return (whole, _REMOVED[whole]) if whole in _REMOVED else None
    missing = _NO_MODULE.search(text)
    if missing is None:
        return None
    # Packages bundle a copy of `six` under their own names.
    known = "six.moves" if ".six.moves" in f".{missing[1]}" else missing[1]
    return (known, _REMOVED[known]) if known in _REMOVED else None
