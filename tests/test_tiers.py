"""Every promise of SPECIFICATION.md has a test that `make test` runs: those marked `thorough` or `torture` repeat it.

Run by `make check` and `make test`. Reads the page and the tests as text.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "SPECIFICATION.md").read_text()
LATER = {"thorough", "torture"}
# Figures that were measured say so of their test.
OF_TORTURE = "(torture)"


def promises() -> Iterator[tuple[str, list[str]]]:
    """The lines of tables that name tests, with the files and folders that they name."""
    for line in PAGE.splitlines():
        named = re.findall(r"`([a-z0-9_/]+(?:/|\.py)(?:::test_\w+)?)`", line)
        named = [each for each in named if (TESTS / each.partition("::")[0]).exists()]
        if line.startswith("| ") and named and OF_TORTURE not in line:
            yield line.split("|")[1].strip(), named


@functools.cache
def in_every_run(file: Path) -> frozenset[str]:
    """Tests of this file that no marker on them or on the whole file leaves to a later tier.

    A parameter may do so for its own part of a test. What a file takes from another counts there.
    """
    tree = ast.parse(file.read_text())
    if any(name == "pytestmark" and _is_later(value) for name, value in _assigned(tree.body)):
        return frozenset()
    return frozenset(_tests(tree.body))


def _tests(body: list[ast.stmt]) -> Iterator[str]:
    """A state machine is a test by its name: `TestQueue = Queue.TestCase`."""
    yield from (name for name, _value in _assigned(body) if name.startswith("Test"))
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _tests(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield from () if any(map(_is_later, node.decorator_list)) else (node.name,)


def _assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        if isinstance(node, ast.Assign):
            yield from ((ast.unparse(each), node.value) for each in node.targets)


def _is_later(marks: ast.expr) -> bool:
    each = marks.elts if isinstance(marks, ast.List | ast.Tuple) else [marks]
    return any(isinstance(mark, ast.Attribute) and mark.attr in LATER for mark in each)


def test_the_page_names_tests() -> None:
    assert sum(1 for _ in promises()) > 200


@pytest.mark.parametrize(("promise", "named"), [pytest.param(*each, id=each[0][:60]) for each in promises()])
def test_a_promise_is_held_in_every_run(promise: str, named: list[str]) -> None:
    for each in named:
        place, _colons, test = each.partition("::")
        path = TESTS / place
        files = path.rglob("test_*.py") if path.is_dir() else [path]
        found = frozenset[str]().union(*map(in_every_run, files))
        if test in found or (found and not test):
            return
    pytest.fail(f"{', '.join(named)}: all thorough or torture; expected a test that `make test` runs for: {promise}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def test_a(): ...\n@pytest.mark.thorough\ndef test_b(): ...\n", {"test_a"}),
        ("pytestmark = pytest.mark.torture\ndef test_a(): ...\n", set()),
        ("pytestmark = [pytest.mark.asyncio, pytest.mark.thorough]\nasync def test_a(): ...\n", set()),
        ("@pytest.mark.parametrize('x', [pytest.param(1, marks=thorough), 2])\ndef test_a(x): ...\n", {"test_a"}),
        ("TestQueue = Queue.TestCase\n", {"TestQueue"}),
    ],
)
def test_what_is_later_is_seen(tmp_path: Path, text: str, found: set[str]) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(text)
    assert in_every_run(file) == found
