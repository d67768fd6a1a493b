"""How commands end: an exit code and at most one line, whatever the input, the streams or the signals are."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sesame.cli import ending
from sesame.cli.main import COMMANDS, cli
from sesame.model.errors import ConfigurationError
from sesame.model.exit_codes import EXIT_INTERRUPTED

# Streams are buffered, as they are for most users.
CLEAN = {
    name: value for name, value in os.environ.items() if not name.startswith("SESAME_") and name != "PYTHONUNBUFFERED"
}


def sesame(*arguments: str | bytes, **options: object) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "sesame", *arguments], capture_output=True, check=False, env=CLEAN,
        stdin=subprocess.DEVNULL, **options,  # type: ignore[call-overload]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (ConfigurationError("what and why"), 1, "error: what and why"),
        (OSError(errno.EACCES, "Permission denied", "/x"), 1, "/x: Permission denied; run the command as the user who"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device; free some space"),
        (SystemExit("a sentence"), 1, "a sentence"),
        (SystemExit(7), 7, ""),
        (SystemExit(), 0, ""),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (click.UsageError("typed wrong"), 2, "typed wrong"),
    ],
)
def test_every_outcome_is_a_code_and_a_line(
    capsys: pytest.CaptureFixture[str], raised: BaseException, code: int, says: str
) -> None:
    def command() -> int:
        raise raised

    assert ending.run(command) == code
    printed = capsys.readouterr().err
    assert says in printed
    assert bool(says) == bool(printed)


def test_a_defect_is_one_line_and_its_traceback_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def defective() -> int:
        raise KeyError("nothing")

    assert ending.run(defective) == 1
    (file,) = tmp_path.iterdir()
    assert f"this is a defect of Sesame: KeyError: 'nothing'; its traceback is in {file}" in capsys.readouterr().err
    assert "Traceback" in file.read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert ending.run(defective) == 1
    assert "this is a defect of Sesame: KeyError: 'nothing'\n" in capsys.readouterr().err


def test_a_broken_pipe_ends_a_command_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for stream in ("stdout", "stderr"):
        done = subprocess.run(
            [sys.executable, "-m", "sesame", *(["--help"] if stream == "stdout" else ["strat"])],
            check=False, env=CLEAN, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing},
        )  # type: ignore[call-overload]  # fmt: skip
        assert done.returncode == ending.EXIT_BROKEN_PIPE
        assert not done.stdout
        assert not done.stderr
    os.close(writing)


def test_output_that_cannot_be_written_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sesame", "--help"], stdout=full, stderr=subprocess.PIPE, check=False, env=CLEAN
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: ")
    assert b"No space left on device" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("closed", "code", "says"),
    [
        ("2>&-", 0, b""),
        (">&-", 1, b"error: the output cannot be written: stdout is closed\n"),
        (">&- 2>&-", 1, b""),
        ("<&-", 0, b""),
    ],
)
def test_a_result_that_has_nowhere_to_go_fails_the_command(closed: str, code: int, says: bytes) -> None:
    command = f'exec "$0" -m sesame --help {closed}'
    done = subprocess.run(["sh", "-c", command, sys.executable], check=False, env=CLEAN, capture_output=True)
    assert (done.returncode, done.stderr) == (code, says)


def test_a_locale_without_unicode_fails_no_command() -> None:
    ascii_only = CLEAN | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-m", "sesame", "invoke", "--help"], check=False, env=ascii_only, capture_output=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("after_s", [0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("arguments", [["runtimes"], ["start", "--port=0", "--oss-port=0", "--sandbox=plain"]])
def test_ctrl_c_ends_a_command_at_any_moment_without_a_traceback(
    tmp_path: Path, arguments: list[str], after_s: float
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sesame", *arguments], cwd=tmp_path, env=CLEAN,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    # While the interpreter itself starts, or looks for the module to run, it is the interpreter that complains.
    starting = b"/sesame/" not in said or b"_get_module_details" in said
    if b"Traceback" not in said or not starting:
        assert process.returncode in (0, EXIT_INTERRUPTED, -signal.SIGINT), said
        assert b"Traceback" not in said
        assert b"Exception ignored" not in said


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["strat"], "No such command 'strat'. Did you mean 'start'?"),
        (["zzz"], "No such command 'zzz'. Expected one of start, "),
        (["invoke", "--servce", "x"], "--service"),
    ],
)
def test_what_is_mistyped_is_answered_with_what_is_near(typed: list[str], says: str) -> None:
    done = CliRunner().invoke(cli, typed)
    assert done.exit_code == 2
    assert says in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_that_says_what_it_does(name: str) -> None:
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0
    assert len(done.output.splitlines()[2].strip()) > 20


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["env", "--config", "/dev/zero"], b"cannot read /dev/zero: it is no regular file"),
        (["env", "--data-dir", ""], b"--data-dir is set to an invalid value ''"),
        (["env", "--data-dir", "~no-such-user/x"], b"--data-dir is set to an invalid value '~no-such-user/x'"),
        (["env", "--data-dir", "x" * 5000], b"File name too long"),
        (["env", "--data-dir", b"/\xff\xfe"], b"no Sesame runs on the data directory /"),
        (["invoke", "main.f", "-f", "/dev/zero"], b"the event is larger than"),
        (["events", "oss", "--key", b"in/\xff"], rb"found b'in/\xff', which is not UTF-8; expected a name or text"),
        (["events", "mns", "--stream", "--message", b"a\xffb", "--json"], rb"found b'a\\xffb', which is not UTF-8"),
        (["events", "log", "--at", "9999-12-31T23:59:59Z"], b"expected a time from 1970 to 2261"),
        (["events", "log", "--at", "1969-12-31T23:59:59Z"], b"expected a time from 1970 to 2261"),
        (["events", "log", "--parameter", '{"a":' * 3000 + "1" + "}" * 3000], b"its JSON is nested too deeply"),
        (["async", "list", "-n", "9" * 20], b"is not in the range 1<=x<=1000000"),
        (["logs", "s/f", "-n", "9" * 20], b"is not in the range 0<="),
    ],
)
def test_odd_values_are_named(arguments: list[str | bytes], says: bytes) -> None:
    done = sesame(*arguments)
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert b"defect" not in done.stderr


def test_a_working_directory_that_is_gone_or_closed_ends_no_command_with_a_traceback(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    for command in ("env", "runtimes", "logs f"):
        done = subprocess.run(
            ["sh", "-c", f'mkdir -p "$1"; cd "$1"; rmdir "$1"; exec "$0" -m sesame {command}', sys.executable, gone],
            check=False, env=CLEAN, capture_output=True,
        )  # fmt: skip
        assert done.returncode in (0, 1)
        assert b"Traceback" not in done.stderr
        assert b"defect" not in done.stderr


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    hangs = tmp_path / "python3.9"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "sesame", "runtimes"], env=CLEAN | {"PATH": f"{tmp_path}:{os.defpath}"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    while process.poll() is None:
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
    assert b"Traceback" not in process.communicate()[0]
    assert time.monotonic() - began < 9
