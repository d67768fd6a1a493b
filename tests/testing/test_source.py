"""What is deployed of a test file: the function, what it uses of the file, at the same lines, for every Python.

Run by pytest. Runs what it makes in this interpreter, and the parsers of others where they are here.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sesame.testing.errors import CloudError
from sesame.testing.source import source_of

FILE = '''\
"""A test file."""
from __future__ import annotations

import functools
import json, os
from collections import OrderedDict as Ordered
try:
    import nothing_like_this as fast
except ImportError:
    fast = None
import pytest

LIMIT = 3
UNUSED = pytest.param
TABLE = {
    "a": LIMIT,
}


class Base:
    def value(self):
        return TABLE["a"]


class Used(Base):
    pass


def wrapped(function):
    @functools.wraps(function)
    def inner(*given): return function(*given) + 1
    return inner


@wrapped
def helper(x: pytest.Item, *rest: "int", key: dict[str, int] = {"k": 1}) -> pytest.Mark: return x + key["k"]


@pytest.fixture
def unused():
    raise AssertionError


def test_it():
    def initialize(context: object) -> None:
        os.environ["ready"] = "1"

    @unused
    @functools.partial
    def handler(
        event: bytes,
        context: pytest.Item,
    ) -> dict[str, object]:
        """Keeps

        its lines."""
        text = """
    four columns"""
        if fast is None:
            return {"sum": helper(1), "value": Used().value(), "text": text, "o": Ordered(), "doc": handler.__doc__}
        return json.loads(event)
    return handler, initialize
'''


def load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def made(tmp_path: Path) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The functions of FILE, as its test would give them: undecorated."""
    text = FILE.replace("    @unused\n    @functools.partial\n", "\n\n")
    (tmp_path / "test_it.py").write_text(text)
    handler, initialize = load(tmp_path / "test_it.py", "test_it").test_it()
    (tmp_path / "test_it.py").write_text(FILE)
    return handler, initialize


def test_the_module_has_what_is_used_and_nothing_else(made: tuple[Any, Any], tmp_path: Path) -> None:
    # Decorators begin a function: where they stand above it, its first line is theirs.
    handler, initialize = made
    (tmp_path / "test_it.py").write_text(FILE.replace("    @unused\n    @functools.partial\n", "\n\n"))
    source = source_of([handler, initialize], new_python=False)
    assert source.handlers == ("test_it.handler", "test_it.initialize")
    text = source.files["test_it.py"].decode()
    assert "pytest" not in text
    assert "->" not in text
    assert "annotations" not in text
    assert "UNUSED" not in text
    (tmp_path / "made.py").write_text(text)
    module = load(tmp_path / "made.py", "made")
    assert module.handler(b"", None) == {
        "sum": 3,
        "value": 3,
        "text": "\n    four columns",
        "o": {},
        "doc": handler.__doc__,
    }
    assert module.handler.__code__.co_firstlineno == handler.__code__.co_firstlineno
    assert module.helper.__wrapped__.__code__.co_firstlineno == FILE.splitlines().index("@wrapped") + 1
    assert "from __future__ import annotations" in source_of([handler]).files["test_it.py"].decode()


def test_what_cannot_be_deployed_is_refused_with_the_reason() -> None:
    outer = 1

    def closure(event: bytes, context: object) -> int:
        return outer

    async def coroutine(event: bytes, context: object) -> None: ...

    class Callable_:
        def __call__(self, event: bytes, context: object) -> None: ...

    for given, says in (
        (closure, "closure .line [0-9]+. uses outer of the test around it"),
        (coroutine, "coroutine is a coroutine; the runtimes call plain functions"),
        (Callable_(), "expected functions defined with def in one Python file"),
        (lambda event, context: None, "<lambda> was not found"),
        (eval("lambda e, c: 1"), "expected functions defined with def in one Python file"),
    ):
        with pytest.raises(CloudError, match=says):
            source_of([given])


def test_a_file_whose_name_is_no_module_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "1 tést-file.py"
    path.write_text("def handler(event, context): return 'ä'\n", "utf-8")
    source = source_of([load(path, "odd").handler])
    assert source.handlers == ("test_1_t_st_file.handler",)
    assert source.files == {"test_1_t_st_file.py": "def handler(event, context): return 'ä'\n".encode()}
