"""Printing for commands: one console for results, one for everything else, and the format of errors.

Used by every command. Results go to stdout; notes, progress and errors go to stderr. Never prints a traceback for an
expected error.
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

# Characters that could move the cursor or change the terminal, except tabs.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def __getattr__(name: str) -> "Console":
    """The consoles `out` (stdout) and `notes` (stderr)."""
    if name not in ("out", "notes"):
        raise AttributeError(name)
    return _console(stderr=name == "notes")


@functools.cache
def _console(*, stderr: bool) -> "Console":
    # Imported late: completing a command line, which must be fast, prints nothing.
    from rich.console import Console

    # Without emoji codes: rich would replace parts of ARNs such as `acs:fc:cn:…`.
    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)


def own_name() -> str:
    """The command to type: `sesame` if PATH has this installation, otherwise its path."""
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
    """Makes a line safe for a terminal by escaping control characters."""
    if line.isprintable():
        return line
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", line)


def log(data: bytes) -> None:
    """Writes a function's output to stderr immediately."""
    sys.stderr.buffer.write(data.replace(b"\r\n", b"\n"))
    sys.stderr.buffer.flush()


def log_tail(tail: bytes) -> None:
    """Writes a function's log tail to stderr; on a terminal with control characters escaped."""
    if not sys.stderr.isatty():
        sys.stderr.buffer.write(tail.replace(b"\r\n", b"\n"))
    else:
        for line in tail.decode("utf-8", "replace").rstrip("\n").split("\n"):
            sys.stderr.write(harmless(line.removesuffix("\r")) + "\n")
    sys.stderr.flush()


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Aligns columns without wrapping, even for pipes and narrow terminals."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def json_document(document: object) -> None:
    """Writes one JSON document to stdout, indented."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")


def json_value(payload: bytes) -> Any:
    """A payload as a value in a JSON document: decoded JSON, otherwise text, otherwise `{"base64": …}`."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(payload).decode()}


def json_error(message: str, **known: str | int) -> None:
    """Writes `{"error": {"message": …}}` to stderr as one line, after any notes."""
    # The message may contain an argument or a file name that is not valid UTF-8.
    told = {"message": message.encode("utf-8", "backslashreplace").decode(), **known}
    sys.stderr.write(msgspec.json.encode({"error": told}).decode() + "\n")


def result(payload: bytes) -> None:
    """Writes a function's answer to stdout unchanged; on a terminal with a final newline."""
    sys.stdout.buffer.write(payload)
    if sys.stdout.isatty() and not payload.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def busy(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Announces slow work: a spinner on a terminal, otherwise one line (none if `quiet`)."""
    notes = _console(stderr=True)
    if notes.is_terminal:
        from rich.markup import escape

        with notes.status(escape(what)):
            yield
    else:
        if not quiet:
            note(what)
        yield
