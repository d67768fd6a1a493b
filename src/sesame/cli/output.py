"""What the commands print with: one console for results, one for everything else, and the way errors look.

Used by every command. Results go to stdout; notes, progress and errors go to stderr.
Never prints a traceback for what can be expected to go wrong.
"""

import base64
import functools
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

# What could move the cursor or change the terminal; a tab may stay.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def __getattr__(name: str) -> "Console":
    """The consoles `out` (stdout) and `notes` (stderr)."""
    if name not in ("out", "notes"):
        raise AttributeError(name)
    return _console(stderr=name == "notes")


@functools.cache
def _console(*, stderr: bool) -> "Console":
    # Imported with the first line that is printed: the completion of a command line prints none and must be fast.
    from rich.console import Console

    # Without emoji: an ARN such as `acs:fc:cn:…` holds what would be taken for the name of one.
    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)


def own_name() -> str:
    """How this command is called from here: by its name where that is found, else by its path."""
    beside = Path(sys.executable).with_name("sesame")
    found = shutil.which("sesame")
    if not beside.exists() or (found is not None and Path(found).samefile(beside)):
        return "sesame"
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return shlex.quote(str(beside))


def error(message: str) -> None:
    notes = _console(stderr=True)
    notes.print("[bold red]error:[/]", end=" ")
    notes.print(message, markup=False)


def note(message: str) -> None:
    _console(stderr=True).print(message, markup=False)


def harmless(line: str) -> str:
    """A line for a terminal: its control characters show as what they are and do nothing."""
    if line.isprintable():
        return line
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", line)


def log(data: bytes) -> None:
    """Writes what a function writes to stderr as it comes."""
    sys.stderr.buffer.write(data.replace(b"\r\n", b"\n"))
    sys.stderr.buffer.flush()


def log_tail(tail: bytes) -> None:
    """Writes the end of a function's log to stderr: as it is, or line by line harmless on a terminal."""
    if not sys.stderr.isatty():
        sys.stderr.buffer.write(tail.replace(b"\r\n", b"\n"))
    else:
        for line in tail.decode("utf-8", "replace").rstrip("\n").split("\n"):
            sys.stderr.write(harmless(line.removesuffix("\r")) + "\n")
    sys.stderr.flush()


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Lines of columns that also a pipe or a narrow terminal gets unbroken."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def json_document(document: object) -> None:
    """Writes one JSON document to stdout, indented."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")


def json_value(payload: bytes) -> Any:
    """A payload within a JSON document: its value where it is JSON, else its text, else `{"base64": …}`."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(payload).decode()}


def json_error(message: str, **known: str | int) -> None:
    """Writes `{"error": {"message": …}}` to stderr, in one line after whatever notes stand there."""
    # It may repeat an argument or a file name that is no UTF-8.
    told = {"message": message.encode("utf-8", "backslashreplace").decode(), **known}
    sys.stderr.write(msgspec.json.encode({"error": told}).decode() + "\n")


def result(payload: bytes) -> None:
    """Writes a function's answer to stdout as it is; a terminal gets a closing newline."""
    sys.stdout.buffer.write(payload)
    if sys.stdout.isatty() and not payload.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def busy(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Says what takes long: a spinner on a terminal, one line elsewhere (none when `quiet`)."""
    notes = _console(stderr=True)
    if notes.is_terminal:
        from rich.markup import escape

        with notes.status(escape(what)):
            yield
    else:
        if not quiet:
            note(what)
        yield
