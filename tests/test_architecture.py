"""Holds the structure of the sources: layers, forbidden imports, cycles, file sizes, headers and absolute imports.

Run by `make check` and `make test`. Reads the sources as text and never imports them.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.imports import imported_with

SRC = Path(__file__).parents[1] / "src" / "sesame"
MAX_LINES = 400

# A package imports only itself and packages of lower layers; packages of one layer do not know each other.
LAYERS: dict[str, int] = {
    "model": 0, "write_batching": 0, "background": 0, "timed_programs": 0, "own_files": 0,
    "regular_file": 0,
    "http": 1, "inside": 1, "store": 1, "sandbox": 1,
    "engine": 2, "control": 2, "identity": 2, "placement": 2, "destinations": 2,
    "agents": 3, "fc": 3, "oss": 3, "sls": 3, "sts": 3, "console": 3, "triggers": 3, "metrics": 3, "traces": 3,
    "on_ray": 3,
    "cluster": 4,
    "app": 5, "_storage": 5, "_identity": 5, "_engine": 5, "_endpoints": 5, "_async": 5, "_metrics": 5, "_traces": 5,
    "_triggers": 5, "_agents": 5, "_follower": 5, "_node": 5, "_sandbox": 5, "_logs": 5, "_network": 5, "_cloud": 5,
    "_function_metrics": 5,
    "_provided_layers": 5, "_patience": 5, "_tunnels": 5, "_node_packages": 5, "_shared_settings": 5,
    "_own_logs": 5, "_listening": 5, "_shared_logs": 5, "_nonces": 5, "_unlinked": 5, "_installed": 5,
    "settings": 5, "settings_file": 5, "settings_fields": 5, "settings_checks": 5,
    "data_dir": 5, "cli": 5, "dev": 5, "deploy": 5, "build": 5, "testing": 5,
    "scaffold": 5,
}  # fmt: skip
TOP = 5
# Runs under the functions' own interpreters; the sandbox refers to it by path.
SHIM = "runtime"

# What a part of the sources must never import, besides what the layers forbid: (importer, imported, exceptions).
FORBIDDEN: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("engine", "sesame.store", ()),
    ("engine", "sesame.model.service", ()),
    ("fc", "sesame.store", ()),
    ("oss", "sesame.store", ("sesame.store.objects",)),
    ("sls", "sesame.store", ("sesame.store.logs",)),
    ("sandbox/jail", "sesame.sandbox.process", ()),
    ("sandbox/process", "sesame.sandbox.jail", ()),
)
# Libraries that one package alone may import.
OWNERS: dict[str, str | tuple[str, ...]] = {
    "uvicorn": "http",
    # The server's side and, towards functions that are web servers, the client's.
    "httptools": ("http", "sandbox/web"),
    "aiohttp": "destinations",
    "yarl": "destinations",
    "google.protobuf": "sls",
    "prometheus_client": "metrics",
    "opentelemetry": "traces",
    "sqlite3": "store/sql",
    "asyncpg": "store/sql",
    "obstore": "store/blobs",
    "ray": "on_ray",
    "sqlalchemy.dialects": "store/sql",
    "duckdb": "store/logs/query",
    "lark": "store/logs/query",
    "sqlglot": "store/logs/query",
}
# What is forbidden above and still there: (file, what it must not import). A line goes when its import goes.
NOT_YET: frozenset[tuple[str, str]] = frozenset()


def sources() -> list[Path]:
    return sorted(p for p in SRC.rglob("*.py") if "__pycache__" not in p.parts)


def name_of(path: Path) -> str:
    """`fc/app.py`."""
    return path.relative_to(SRC).as_posix()


def package_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@functools.cache
def imports_of(path: Path) -> tuple[tuple[str, int], ...]:
    """Every module named by an import statement, also those inside functions."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or package_of(path) == SHIM, f"{path}:{node.lineno}: relative import"
            found += ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
    return tuple(found)


def host_sources() -> list[Path]:
    return [p for p in sources() if package_of(p) not in {SHIM, "__init__", "__main__"}]


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def wrong_imports(path: Path) -> Iterator[str]:
    """What the file imports of a package that is neither its own nor in a lower layer."""
    package = package_of(path)
    assert package in LAYERS, f"{package} has no layer"
    for module, line in imports_of(path):
        parts = module.split(".")
        if parts[0] != "sesame" or len(parts) < 2:
            continue
        other = parts[1]
        if other in (package, "__version__"):
            continue
        if other == SHIM:
            yield f"{name_of(path)}:{line}: the shim is reached by path, from sandbox/ only"
        elif LAYERS.get(other, 99) >= LAYERS[package] != TOP:
            yield f"{name_of(path)}:{line}: {package} must not know {other}"


# One test for all files: a test for each costs as much as what it looks at.
def test_files_import_only_their_own_package_and_lower_layers() -> None:
    assert [each for path in host_sources() for each in wrong_imports(path)] == []


def forbidden_imports() -> Iterator[tuple[str, str]]:
    """(file, what it must not import) of each import that `FORBIDDEN`, `OWNERS` or the API versions rule out."""
    for path in host_sources():
        name = name_of(path)
        for module, _line in imports_of(path):
            for importer, imported, exceptions in FORBIDDEN:
                excepted = any(is_within(module, each) for each in exceptions)
                if name.startswith(importer + "/") and is_within(module, imported) and not excepted:
                    yield name, imported
            for library, owner in OWNERS.items():
                owners = (owner,) if isinstance(owner, str) else owner
                if is_within(module, library) and not name.startswith(tuple(f"{each}/" for each in owners)):
                    yield name, library
            own, other = name.split("/"), module.split(".")
            if own[0] == "fc" and own[1].startswith("v20") and other[:2] == ["sesame", "fc"]:
                yield from ((name, module) for version in other[2:3] if version.startswith("v20") and version != own[1])


def test_nothing_imports_what_it_must_never_know() -> None:
    found = set(forbidden_imports())
    new = sorted(found - NOT_YET)
    assert not new, f"forbidden imports: {new}"
    gone = sorted(NOT_YET - found)
    assert not gone, f"these imports are gone: take their lines out of NOT_YET: {gone}"


# Where endpoints word what went wrong; everything below them raises kinds (`model.errors`).
WORDINGS = ("fc/wording.py", "fc/refusals.py", "oss/errors.py", "sls/errors.py")
# A code is one word in `PascalCase` of at least two parts.
CODE = re.compile(r"(?:[A-Z][a-z]+){2,}(?:ID)?\Z")
TEXTS = ("is set to an invalid value (allowed", "is required but not provided", "ErrorCode", "ErrorMessage")


def strings_of(path: Path) -> set[str]:
    """Every string in the code but docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings)
    return {node.value for node in constants if isinstance(node.value, str)}


def test_nothing_below_the_endpoints_knows_their_codes_or_texts() -> None:
    codes = {text for name in WORDINGS for text in strings_of(SRC / name) if CODE.match(text)}
    assert {"ServiceNotFound", "InvalidArgument", "NoSuchBucket"} <= codes
    suspicious = re.compile("|".join(map(re.escape, [*codes, *TEXTS])))
    for path in host_sources():
        # Also in a text that the source has in pieces.
        if LAYERS[package_of(path)] < LAYERS["fc"] and suspicious.search(re.sub(r'"\s*f?"', "", path.read_text())):
            found = {text for text in strings_of(path) if text in codes or any(part in text for part in TEXTS)}
            assert not found, f"{name_of(path)} has words of an endpoint: {sorted(found)}"


@functools.cache
def module_graph() -> dict[str, set[str]]:
    """The modules of the host's sources, and which of them each imports."""
    names = {".".join(("sesame", *p.relative_to(SRC).with_suffix("").parts)): p for p in host_sources()}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        candidates = {each for module, _line in imports_of(path) for each in (module, module.rpartition(".")[0])}
        graph[name] = {each for each in candidates if each in names and each != name}
    return graph


def assert_no_cycle(graph: dict[str, set[str]]) -> None:
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


def test_modules_form_no_cycle() -> None:
    assert_no_cycle(module_graph())


def test_sub_packages_form_no_cycle() -> None:
    def group(module: str) -> str:
        """`sesame.fc.auth` for every module in it; a module that lies beside sub-packages stands for itself."""
        parts = module.split(".")
        return ".".join(parts[:3]) if len(parts) > 3 else module

    graph: dict[str, set[str]] = {}
    for module, imported in module_graph().items():
        graph.setdefault(group(module), set()).update(group(each) for each in imported if group(each) != group(module))
    assert_no_cycle(graph)


def faults_of_file(path: Path) -> Iterator[str]:
    text = path.read_text()
    lines_max = 3 if path.name == "__init__.py" else MAX_LINES
    if text.count("\n") > lines_max:
        yield f"{name_of(path)} has more than {lines_max} lines"
    if path.name != "__init__.py" and not (text.startswith('"""') or ast.get_docstring(ast.parse(text))):
        yield f"{name_of(path)} has no header"


def test_files_are_small_and_say_what_they_are() -> None:
    assert [fault for path in sources() for fault in faults_of_file(path)] == []


def test_the_shim_imports_nothing_of_the_host() -> None:
    for path in sources():
        if package_of(path) == SHIM:
            for module, line in imports_of(path):
                assert not module.startswith("sesame"), f"{path.name}:{line}: {module}"


def test_a_function_called_without_a_server_waits_for_no_import_of_the_servers_libraries() -> None:
    heavy = {"sqlalchemy", "alembic", "starlette", "uvicorn", "cryptography"}
    found = imported_with("sesame.cli.local")
    assert "msgspec" in found
    assert heavy.isdisjoint(found)


def test_tests_never_sleep_on_the_wall_clock_in_the_engine() -> None:
    for path in (Path(__file__).parent / "engine").glob("*.py"):
        assert "time.sleep" not in path.read_text(), path.name


# The one place where tests use private parts of other people's libraries: it signs requests that no SDK would send.
SDK_PRIVATE = "support/official_sdks.py"
# One switches each defence off, to see that its attack then succeeds; one sets what an SDK offers no way to set.
PRIVATE_BY_NAME = ("security/test_packages.py", "sls/test_operations.py")
# Documented in spite of their underscore: methods of named tuples, and `os._exit`.
DOCUMENTED = frozenset({"_replace", "_asdict", "_fields", "_make", "_exit"})


def private_attributes(path: Path) -> Iterator[str]:
    """`name._attribute:line` of everything that the file uses or replaces although its owner calls it private."""
    text = path.read_text()
    # Few files have any, and to parse all takes seconds.
    by_name = re.search(r"""attr\([^)]*["'.]_[a-zA-Z]""", text)
    if not by_name and set(re.findall(r"(\w+|[^\w\s])(?=\s*\.\s*_[a-zA-Z])", text)) <= {"self", "cls"}:
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("setattr", "delattr", "getattr")):
            names = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if any(re.match(r"_[a-zA-Z]", name.rpartition(".")[2]) for name in names):
                yield f"{ast.unparse(node)}:{node.lineno}"
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            continue
        if node.attr in DOCUMENTED:
            continue
        if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            continue
        yield f"{ast.unparse(node)}:{node.lineno}"


def test_a_private_attribute_of_an_own_attribute_is_found(tmp_path: Path) -> None:
    path = tmp_path / "test_x.py"
    replaced = ("patch.setattr(made, '_rows', 1)", "patch.setattr('store.made._rows', 1)", "getattr(made, '_rows')")
    for code in ("self._store._rows", "self._a._b", "made._rows", "made()\n ._rows", "rows[0]._name", *replaced):
        path.write_text(f"found = ({code})")
        assert list(private_attributes(path)), code
    path.write_text("found = (self._rows, cls._rows, made._replace(a=1))")
    assert not list(private_attributes(path))


def test_tests_reach_into_no_private_attribute() -> None:
    tests = Path(__file__).parent
    for path in sorted(tests.rglob("*.py")):
        name = path.relative_to(tests).as_posix()
        if "functions" in path.parts or name in (SDK_PRIVATE, *PRIVATE_BY_NAME):
            continue
        found = list(private_attributes(path))
        assert not found, f"tests/{name} uses private attributes: {', '.join(found)}"
