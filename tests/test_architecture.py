"""Holds the house together: floors, siblings, cycles, file sizes, headers and absolute imports.

Run by `make check` and `make test`; reads the sources as text and never imports them.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "sesame"
MAX_LINES = 400

# A room imports only itself and lower floors; rooms on one floor do not know each other.
FLOORS: dict[str, int] = {
    "model": 0, "write_batching": 0,
    "http": 1, "store": 1, "sandbox": 1,
    "engine": 2, "control": 2, "identity": 2, "placement": 2,
    "fc": 3, "oss": 3, "sls": 3, "sts": 3, "console": 3, "triggers": 3,
    "app": 4, "settings": 4, "data_dir": 4, "cli": 4, "testing": 4,
}  # fmt: skip
GARDEN = "runtime"


def sources() -> list[Path]:
    return sorted(p for p in SRC.rglob("*.py") if "__pycache__" not in p.parts)


def room_of(path: Path) -> str:
    first = path.relative_to(SRC).parts[0]
    return first.removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Every module named by an import statement, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or room_of(path) == GARDEN, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def house() -> list[Path]:
    return [p for p in sources() if room_of(p) not in {GARDEN, "__init__", "__main__"}]


@pytest.mark.parametrize("path", house(), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_only_its_own_room_and_lower_floors(path: Path) -> None:
    room = room_of(path)
    assert room in FLOORS, f"{room} has no floor"
    for module, line in imports_of(path):
        parts = module.split(".")
        if parts[0] != "sesame" or len(parts) < 2:
            continue
        other = parts[1]
        if other in (room, "__version__"):
            continue
        where = f"{path.relative_to(SRC)}:{line}"
        assert other != GARDEN, f"{where}: the garden is reached by path, from sandbox/ only"
        assert FLOORS.get(other, 99) < FLOORS[room] or FLOORS[room] == 4, f"{where}: {room} must not know {other}"


def test_modules_form_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    names = {".".join(("sesame", *p.relative_to(SRC).with_suffix("").parts)) for p in house()}
    for path in house():
        name = ".".join(("sesame", *path.relative_to(SRC).with_suffix("").parts))
        seen = graph.setdefault(name, set())
        for module, _line in imports_of(path):
            for candidate in (module, module.rpartition(".")[0]):
                if candidate in names and candidate != name:
                    seen.add(candidate)
    state: dict[str, int] = {}

    def visit(node: str, trail: tuple[str, ...]) -> None:
        assert state.get(node) != 1, f"import cycle: {' → '.join((*trail, node))}"
        if state.get(node) == 2:
            return
        state[node] = 1
        for other in sorted(graph.get(node, ())):
            visit(other, (*trail, node))
        state[node] = 2

    for node in sorted(graph):
        visit(node, ())


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(SRC)))
def test_file_is_small_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_LINES, f"{path.name} has more than {MAX_LINES} lines"
    if path.name == "__init__.py":
        assert text.count("\n") <= 3
    else:
        assert ast.get_docstring(ast.parse(text)), f"{path.name} has no header"


def test_the_garden_imports_nothing_of_ours() -> None:
    for path in sources():
        if room_of(path) == GARDEN:
            for module, line in imports_of(path):
                assert not module.startswith("sesame"), f"{path.name}:{line}: {module}"


def test_a_function_called_without_a_server_waits_for_no_import_of_the_servers_libraries() -> None:
    heavy = {"sqlalchemy", "alembic", "starlette", "uvicorn", "cryptography"}
    code = "import sys, sesame.cli.local; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert "msgspec" in done.stdout.split()
    assert heavy.isdisjoint(done.stdout.split())


def test_tests_never_sleep_on_the_wall_clock_in_the_engine() -> None:
    for path in (Path(__file__).parent / "engine").glob("*.py"):
        assert "time.sleep" not in path.read_text(), path.name
