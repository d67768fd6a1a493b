"""Generates a module from a function in a test file: the function, and the names of the file that it uses.

Called by `testing.cloud` for functions that are deployed by decorator. Lines keep their numbers, so that tracebacks
match the test file.
"""

import ast
import inspect
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sesame.testing.errors import CloudError

_ENCODING = "# -*- coding: utf-8 -*-"


@dataclass(frozen=True)
class Source:
    """`files` by name, and the functions' handlers (`module.function`), in the order given."""

    files: dict[str, bytes]
    handlers: tuple[str, ...]


def source_of(functions: Iterable[Callable[..., Any]], *, new_python: bool = True) -> Source:
    """All functions must be defined in one file. Raises `CloudError` for a function without source or with closures.

    `new_python`: for Python 3.7 or later, which supports `from __future__ import annotations`.
    """
    functions = list(functions)
    files = {inspect.getsourcefile(inspect.unwrap(each)) for each in functions if isinstance(each, types.FunctionType)}
    path = next(iter(files), None)
    if len(files) != 1 or path is None or not Path(path).is_file():
        names = ", ".join(getattr(each, "__qualname__", repr(each)) for each in functions)
        raise CloudError(f"{names}: expected functions defined with def in one Python file with readable source")
    text = Path(path).read_text("utf-8")
    module = _Module(ast.parse(text), text.splitlines())
    chosen = [module.function(each) for each in functions]
    lines = [""] * len(module.lines)
    for node in module.needed(chosen, new_python=new_python):
        _copy(node, _first_line(node), module.lines, lines)
    for function in chosen:
        _copy(function, function.lineno, module.lines, lines)
        if function.col_offset:
            # Keeps the indentation, and thereby the text of multi-line strings.
            above = lines[function.lineno - 2]
            lines[function.lineno - 2] = f"{above}; if True:" if above else "if True:"
    name = _identifier(Path(path).stem)
    # The first line of a file is rarely code; if it is, Python 3 needs no coding line.
    lines[0] = lines[0] or _ENCODING
    code = "\n".join(lines).rstrip() + "\n"
    return Source({f"{name}.py": code.encode()}, tuple(f"{name}.{each.name}" for each in chosen))


class _Module:
    """A parsed test file."""

    def __init__(self, tree: ast.Module, lines: list[str]) -> None:
        self.lines = lines
        self._tree = tree
        self._defined: dict[str, list[ast.stmt]] = {}
        for statement in tree.body:
            for name in _bound_by(statement):
                self._defined.setdefault(name, []).append(statement)

    def function(self, wanted: Callable[..., Any]) -> ast.FunctionDef:
        plain: Any = inspect.unwrap(wanted)
        first = plain.__code__.co_firstlineno
        for node in ast.walk(self._tree):
            if isinstance(node, ast.AsyncFunctionDef) and node.name == plain.__name__ and _first_line(node) == first:
                raise CloudError(
                    f"{plain.__name__} is a coroutine; the runtimes call plain functions: write it with def"
                )
            if isinstance(node, ast.FunctionDef) and node.name == plain.__name__ and _first_line(node) == first:
                self._refuse_closures(plain, node)
                return node
        raise CloudError(f"{plain.__qualname__} was not found in {plain.__code__.co_filename}, line {first}")

    def _refuse_closures(self, plain: Any, node: ast.FunctionDef) -> None:
        # A function may refer to itself.
        if outer := [name for name in plain.__code__.co_freevars if name != node.name]:
            raise CloudError(
                f"{node.name} (line {node.lineno}) uses {', '.join(outer)} of the test around it, which does not exist "
                "where the function runs: pass it in the event or with environment={...}, or define it in the function "
                "or at the top of the file"
            )

    def needed(self, functions: list[ast.FunctionDef], *, new_python: bool) -> list[ast.stmt]:
        """The statements of the file that the functions need, directly or indirectly, in order."""
        found: dict[int, ast.stmt] = {}
        waiting: list[ast.AST] = list(functions)
        while waiting:
            node = waiting.pop()
            for name in _used_in(node, decorators=node not in functions):
                for statement in self._defined.get(name, ()):
                    if id(statement) not in found and statement not in functions:
                        found[id(statement)] = statement
                        waiting.append(statement)
        future = [
            each
            for each in self._tree.body
            if isinstance(each, ast.ImportFrom)
            and each.module == "__future__"
            and (new_python or all(alias.name != "annotations" for alias in each.names))
        ]
        needed = {id(each): each for each in future} | found
        return sorted(needed.values(), key=lambda statement: statement.lineno)


def _bound_by(statement: ast.stmt) -> set[str]:
    """The names that a top-level statement defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    return {
        node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    } | {
        name
        for node in ast.walk(statement)
        if node is not statement and isinstance(node, ast.stmt)
        for name in _bound_by(node)
    }


def _used_in(node: ast.AST, *, decorators: bool) -> set[str]:
    """The names that the node reads, except in its parameters' annotations, which are removed."""
    skipped: list[ast.AST] = []
    if isinstance(node, ast.FunctionDef):
        skipped = [*_annotations(node), *([] if decorators else node.decorator_list)]
    ignored = {id(inner) for each in skipped for inner in ast.walk(each)}
    return {
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load) and id(inner) not in ignored
    }


def _annotations(node: ast.FunctionDef) -> list[ast.AST]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    return [each for each in [node.returns, *(argument.annotation for argument in every if argument)] if each]


def _copy(node: ast.stmt, first: int, source: list[str], target: list[str]) -> None:
    """Copies the node to the same lines of `target`, from line `first` on."""
    assert node.end_lineno is not None
    lines = source[node.lineno - 1 : node.end_lineno]
    if isinstance(node, ast.FunctionDef):
        lines = _without_annotations(node, lines)
    lines = source[first - 1 : node.lineno - 1] + lines
    for number, line in enumerate(lines, first - 1):
        target[number] = line


def _without_annotations(node: ast.FunctionDef, lines: list[str]) -> list[str]:
    """Blanks out annotations: Python 2 has none, and the names in them are not deployed. Columns stay the same."""
    raw = [bytearray(line.encode()) for line in lines]
    for each in _annotations(node):
        assert isinstance(each, ast.expr)
        assert each.end_lineno is not None
        assert each.end_col_offset is not None
        mark = b"->" if each is node.returns else b":"
        first, column = each.lineno - node.lineno, each.col_offset
        while (place := raw[first].rfind(mark, 0, column)) < 0 and first > 0:
            first, column = first - 1, len(raw[first - 1])
        for number in range(first, each.end_lineno - node.lineno + 1):
            start = place if number == first else 0
            end = each.end_col_offset if number == each.end_lineno - node.lineno else len(raw[number])
            raw[number][start:end] = b" " * (end - start)
    return [line.decode() for line in raw]


def _first_line(node: ast.stmt) -> int:
    """The first line including decorators, as in `co_firstlineno`."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.lineno
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def _identifier(stem: str) -> str:
    name = "".join(each if each.isalnum() and each.isascii() else "_" for each in stem)
    return name if name and not name[0].isdigit() else f"test_{name}"
