"""Turns every outcome of a command into an exit code and at most one line on stderr, never a traceback.

Called by `cli.main` around the chosen command.
"""

import contextlib
import errno
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import IO

import click

from sesame.cli import output
from sesame.model.errors import SesameError
from sesame.model.exit_codes import EXIT_INTERRUPTED

EXIT_FAILED = 1
# No Sesame runs; `systemctl status` has the same exit code for a stopped service.
EXIT_NOT_RUNNING = 3
# Click's exit code if it notices the broken pipe first.
EXIT_BROKEN_PIPE = 1

_CLOSED = "stdout is closed"
# How Python reads bytes of arguments, variables and file names that are not UTF-8.
_FIRST_BYTE, _LAST_BYTE = "\udc80", "\udcff"
_SHOWN_CHARS = 40


class InJson(Exception):
    """Wraps the error of a command with `--json`, which is reported as a JSON document on stderr."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def run(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit code."""
    with contextlib.suppress(ValueError):
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    _prepare_streams()
    code = 0
    try:
        try:
            code = _outcome(command)
            sys.stdout.flush()
        except BrokenPipeError:
            # Either stream may be broken.
            _close_quietly(sys.stdout)
            _close_quietly(sys.stderr)
            return EXIT_BROKEN_PIPE
        except OSError as error:
            # The command's last output failed, for example because the disk is full.
            _close_quietly(sys.stdout)
            if not code:
                output.error(f"the output cannot be written: {_CLOSED if _is_closed(error) else error.strerror}")
            return code or EXIT_FAILED
        sys.stderr.flush()
    except OSError:
        # stderr is not writable, so the reason cannot be reported.
        _close_quietly(sys.stdout)
        _close_quietly(sys.stderr)
        return EXIT_BROKEN_PIPE
    else:
        return code
    finally:
        # Only the interpreter's shutdown remains: another Ctrl-C must not print a traceback.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _outcome(command: Callable[[], int | None]) -> int:
    try:
        return command() or 0
    except SystemExit as end:
        if isinstance(end.code, str):
            output.error(end.code)
            return EXIT_FAILED
        return end.code or 0
    except InJson as wrapped:
        return _told_in_json(wrapped.error)
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 (the last resort; kept in a file)
        output.error(_message(error))
        return EXIT_FAILED


def _told_in_json(error: Exception) -> int:
    """Writes `{"error": {"message": …}}` with the known details."""
    # Imported late: only errors need it.
    from sesame.cli.client import Refused

    match error:
        case click.ClickException():
            output.json_error(error.format_message())
            return error.exit_code
        case Refused():
            output.json_error(error.message, **error.known())
        case _:
            output.json_error(_message(error))
    return EXIT_FAILED


def _message(error: Exception) -> str:
    match error:
        case SesameError():
            return str(error)
        case OSError():
            # Errors of the operating system: no permission, no space, no file.
            return _of_the_machine(error)
        case UnicodeEncodeError() if _FIRST_BYTE <= error.object[error.start] <= _LAST_BYTE:
            return _of_no_text(error)
        case _:
            return _of_a_defect(error)


def _of_the_machine(error: OSError) -> str:
    if _is_closed(error):
        return f"the output cannot be written: {_CLOSED}"
    said = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{said}; run the command as the user who owns it, or name another place"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{said}; free some space"
    return said


def _of_no_text(error: UnicodeEncodeError) -> str:
    """For bytes of an argument, variable or file name that became part of a text of the API."""
    near = error.object[max(error.start - _SHOWN_CHARS, 0) : error.end + _SHOWN_CHARS]
    found = near.encode("utf-8", "surrogateescape")
    return f"found {found!r}, which is not UTF-8; expected a name or text in UTF-8"


def _of_a_defect(error: Exception) -> str:
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="sesame-defect-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError:
        return f"this is a defect of Sesame: {said}"
    return f"this is a defect of Sesame: {said}; its traceback is in {file.name}"


def _is_closed(error: OSError) -> bool:
    return error.errno == errno.EBADF and error.filename is None


def _prepare_streams() -> None:
    """Makes writing to stderr work even if it is closed, or a terminal that supports only ASCII.

    Writing to a closed stdout fails, so that a command whose result is lost does not exit with 0.
    """
    if sys.stdout is None:
        # A read-only descriptor: writing to it fails with EBADF, as for the closed one.
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (for the life of the process)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def _close_quietly(stream: IO[str]) -> None:
    """Redirects the stream to /dev/null, since the interpreter would report that its buffer cannot be flushed."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
