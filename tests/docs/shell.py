"""Runs the commands of a page one after the other, as one would type them in a folder of one's own.

Used by `test_commands.py`. Plain `sesame …` is forked from a process that has everything imported; bash runs the rest.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support import forked, plain_pytest

TIMEOUT_S = 120
# What makes a command more than a program with arguments.
_SHELL = re.compile(r"[|&;<>$`*~\n]")
# What differs from run to run: ids, times, addresses, counts with a unit.
_VARIES = re.compile(
    r"…|[0-9a-f]{8}-[0-9a-f-]{27,}|\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|[+-][\d:]+)?|(?:127\.0\.0\.1|localhost):\d+"
    r"|\d+(?:\.\d+)?(?= ?(?:ms|s|MB|KB|MiB|KiB|bytes|B)\b)"
)


class Shell:
    """A working directory and an environment, which `cd` and `export` change."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self._state = folder.with_name(folder.name + ".state")

    def run(self, typed: str) -> tuple[int, str]:
        """Its exit status, and what it wrote: results first, then what stands on stderr."""
        if not _SHELL.search(typed):
            words = shlex.split(typed, comments=True)
            if words[0] == "sesame":
                done = forked.run(*words[1:], environ=self.environ, directory=self.folder)
                return done.returncode, _together(
                    done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
                )
        show = "import json, os; print(json.dumps([os.getcwd(), dict(os.environ)]))"
        dump = f"{shlex.quote(sys.executable)} -I -S -c '{show}'"
        script = f"{typed}\nended=$?; {dump} > {shlex.quote(str(self._state))}; exit $ended"
        done_text = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, text=True,
            capture_output=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        if self._state.exists():
            folder, self.environ = json.loads(self._state.read_text())
            self.folder = Path(folder)
        return done_text.returncode, _together(done_text.stdout, done_text.stderr)


def _together(out: str, err: str) -> str:
    """An answer without a newline at its end is a line too."""
    return f"{out}\n{err}" if out and not out.endswith("\n") else out + err


def missing_lines(shown: Sequence[str], said: str) -> list[str]:
    """The lines of a page that a command did not print, in their order. Blanks count once; what varies may differ."""
    lines = [" ".join(line.split()) for line in said.splitlines()]
    missing, at = [], 0
    for line in shown:
        pattern = re.compile(_pattern(" ".join(line.split())))
        found = next((number for number in range(at, len(lines)) if pattern.fullmatch(lines[number])), None)
        if found is None:
            missing.append(line)
        else:
            at = found + 1
    return missing


def _pattern(line: str) -> str:
    """A comment at the end of a shown line is the page's own."""
    line = re.sub(r"\s+# .*", "", line)
    parts, end = [], 0
    for varies in _VARIES.finditer(line):
        parts += [re.escape(line[end : varies.start()]), ".*"]
        end = varies.end()
    return "".join((*parts, re.escape(line[end:])))


def clean_environment(**more: str) -> dict[str, str]:
    """The caller's environment without what names another Sesame; `sesame` and `python` are those of this run."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SESAME_", "FC_", "ACCESS_KEY", "OSS_"))
    }
    ours = {
        "PATH": f"{Path(sys.executable).parent}:{kept.get('PATH', '')}",
        "PYTEST_ADDOPTS": shlex.join(plain_pytest.OPTIONS),
    }
    return kept | ours | more
