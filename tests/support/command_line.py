"""Runs `sesame …` in the test's own process, as `sesame.cli.main` runs it: a tenth of what a new interpreter costs.

For tests of what a command prints and how it ends; how a process ends by signals is tested with real ones.
"""

import contextlib
import io

import msgspec
import pytest

from sesame.cli import ending
from sesame.cli.main import cli


class Done(msgspec.Struct, frozen=True):
    returncode: int
    stdout: str
    stderr: str


def sesame(*arguments: object, expect: int | None = 0) -> Done:
    """What the command printed. Fails when it ended with another status than `expect`."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for name in ("FC_ENDPOINT", "FC_CLIENT_CUSTOM_ENDPOINT", "ACCESS_KEY_ID", "SESAME_DATA_DIR"):
            patch.delenv(name, raising=False)
        code = ending.run(lambda: cli.main(list(map(str, arguments)), prog_name="sesame", standalone_mode=False))
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]
    assert expect is None or code == expect, said
    assert "Traceback" not in said[1]
    return Done(code, *said)
