"""What commands import: little, as people and shells wait for it."""

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


def test_deploying_imports_nothing_that_reads_libraries_before_there_are_some() -> None:
    readers = ("elftools", "packaging", "pathspec", "pdb")
    code = f"import sys, sesame.cli.deploy; print([name for name in {readers} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_server_starts_without_what_only_traces_and_queries_of_logs_need() -> None:
    code = "import sys, sesame.cli.start; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert {"opentelemetry", "duckdb", "sqlglot", "lark"}.isdisjoint(done.stdout.split())
