"""What completing a command line imports: little, as a shell waits for it."""

import subprocess
import sys

import pytest

# Each takes longer than all that is needed.
HEAVY = ("rich", "yaml", "psutil", "tomllib", "structlog", "asyncio", "sqlalchemy", "uvloop", "sesame.app")


@pytest.mark.parametrize("module", ["main", "invoke"])
def test_a_command_line_is_completed_without_heavy_modules(module: str) -> None:
    code = f"import sys, sesame.cli.{module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
