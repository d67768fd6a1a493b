"""How a command ends: every outcome becomes an exit code and at most one line on stderr, never a traceback.

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
# Nothing runs whose status is asked for: as the status of a service says it.
EXIT_NOT_RUNNING = 3
# As click ends where it sees the pipe break first.
EXIT_BROKEN_PIPE = 1

_CLOSED = "stdout is closed"


class InJson(Exception):
    """Wraps the error that ended a command which was asked for JSON: it is reported as a JSON document on stderr."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def run(command: Callable[[], int | None]) -> int:
    """Runs a command to its end and gives its exit code."""
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
            # Either of them.
            _close_quietly(sys.stdout)
            _close_quietly(sys.stderr)
            return EXIT_BROKEN_PIPE
        except OSError as error:
            # Of what the command printed last: a full disk, for example.
            _close_quietly(sys.stdout)
            if not code:
                output.error(f"the output cannot be written: {_CLOSED if _is_closed(error) else error.strerror}")
            return code or EXIT_FAILED
        sys.stderr.flush()
    except OSError:
        # stderr itself cannot be written, so the reason cannot be told.
        _close_quietly(sys.stdout)
        _close_quietly(sys.stderr)
        return EXIT_BROKEN_PIPE
    else:
        return code
    finally:
        # From here on the interpreter itself ends; another Ctrl-C need not interrupt that with a traceback.
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
    """Reports what went wrong with `{"error": {"message": …}}`, and what else is known of it."""
    # Needed for mistakes alone.
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
            # What the machine refuses: no permission, no space, no file.
            return _of_the_machine(error)
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
    """Lets every command write to stderr though it is closed, and to terminals that know only ASCII.

    Writing a result to a stdout that is closed fails, so that a command whose result is lost does not exit with 0.
    """
    if sys.stdout is None:
        # A descriptor that can only be read: writing to it is EBADF, as it would be to the closed one.
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (for the life of the process)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def _close_quietly(stream: IO[str]) -> None:
    """Lets the interpreter flush what is left into nothing, because it would complain of what cannot be written."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
