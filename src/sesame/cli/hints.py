"""What a newcomer gets wrong first, said on stderr beside a function's error as the cloud words it.

Called by `sesame invoke`, for local handlers and for deployed functions.
"""

import collections.abc
import glob
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sesame.cli import output

_IMPORT_FAILED = ("ImportModuleError", "ModuleNotFoundError", "ImportError")
# Python 2.7 has no quotes there.
_NO_MODULE = re.compile(r"No module named '?([\w.]+)'?")
# What newer Pythons have no longer, and since which.
_NO_NAME = re.compile(r"cannot import name '(\w+)' from '(\w+)'|module '(\w+)' has no attribute '(\w+)'")
_GONE = {
    **{f"collections.{name}": "3.10" for name in collections.abc.__all__},
    "inspect.getargspec": "3.11", "asyncio.coroutine": "3.11", "time.clock": "3.8", "fractions.gcd": "3.9",
    "base64.encodestring": "3.9", "base64.decodestring": "3.9",
    "imp": "3.12", "distutils": "3.12", "asyncore": "3.12", "asynchat": "3.12", "smtpd": "3.12", "six.moves": "3.12",
    "formatter": "3.10", "parser": "3.10", "symbol": "3.10",
}  # fmt: skip

# What Python says where it is called as a handler is, with two arguments.
_ASGI = "missing 1 required positional argument: 'send'"


class _Error(msgspec.Struct, rename="camel"):
    error_type: str = ""
    error_message: str = ""


def of_names(code: Path, *handlers: str) -> Iterator[str]:
    """For each handler or initializer: what its name should be like, or which file is not there. Skips empty ones."""
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
    """What helps with the error that a function ended with; nothing of a missing `own_module`, the handler's own."""
    try:
        error = msgspec.json.decode(payload, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if error.error_type == "TypeError" and _ASGI in error.error_message:
        yield (
            "This is an ASGI application, such as FastAPI's, and handlers are WSGI applications or functions: run it "
            "by a custom runtime (docs/custom-runtimes.md, Frameworks)."
        )
    text = payload.decode("utf-8", "replace")
    removed = _gone(text)
    if removed is not None:
        yield (
            f"Python has {removed[0]} no longer since {removed[1]}: this code, or a package beside it, is for an older one. "
            "Newer packages may do, or an older runtime (`--runtime` of `deploy`, or the template's runtime)."
        )
        return
    missing = _NO_MODULE.search(text)
    if error.error_type not in _IMPORT_FAILED or missing is None or missing[1] == own_module:
        return
    command = output.own_name()
    yield (
        f"There is no module '{missing[1]}' in the code or its runtime. Packages that the cloud ships come by "
        f"`{command} runtimes install` on the server's machine, others by requirements.txt and `{command} build`."
    )


def _gone(text: str) -> tuple[str, str] | None:
    """The name of what an error says newer Pythons lack, and the first that lacks it."""
    name = _NO_NAME.search(text)
    if name is not None:
        whole = f"{name[2]}.{name[1]}" if name[1] else f"{name[3]}.{name[4]}"
        return (whole, _GONE[whole]) if whole in _GONE else None
    missing = _NO_MODULE.search(text)
    if missing is None:
        return None
    # Packages carry a copy of `six`, under a name of their own.
    known = "six.moves" if ".six.moves" in f".{missing[1]}" else missing[1]
    return (known, _GONE[known]) if known in _GONE else None
