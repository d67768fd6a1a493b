"""Hints beside the errors of functions: what they say, and that they say nothing where they know nothing."""

import json
from pathlib import Path

import pytest

from sesame.cli import hints


def error(kind: str, message: str, *trace: str) -> bytes:
    return json.dumps({"errorMessage": message, "errorType": kind, "stackTrace": trace}).encode()


@pytest.mark.parametrize(
    "payload",
    [
        error("ModuleNotFoundError", "No module named 'oss2'"),
        error("ImportError", "No module named oss2"),
        error("ImportModuleError", "Unable to import module 'main'", "ModuleNotFoundError: No module named 'oss2'"),
    ],
)
def test_a_missing_module_is_named_with_both_ways_to_bring_it(payload: bytes) -> None:
    (line,) = hints.of_error(payload, "main")
    assert "There is no module 'oss2'" in line
    assert "runtimes install`" in line
    assert "build`" in line


@pytest.mark.parametrize(
    "payload",
    [
        error("ImportModuleError", "Unable to import module 'main'", "ImportError: No module named 'main'"),
        error("ValueError", "No module named 'oss2'"),
        error("ImportError", "cannot import name 'x'"),
        error("ImportError", "cannot import name 'x' from 'inspect' (/usr/lib/inspect.py)"),
        error("AttributeError", "module 'time' has no attribute 'sleeep'"),
        error("AttributeError", "module 'collections' has no attribute 'OrderdDict'"),
        b"No module named 'oss2'",
        b"\xff\xfe",
        b"[]",
        b"",
    ],
)
def test_nothing_is_said_of_other_errors(payload: bytes) -> None:
    assert not list(hints.of_error(payload, "main"))


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (
            error("ImportModuleError", "…", "ImportError: cannot import name 'Container' from 'collections' (/a.py)"),
            "Python 3.10 removed collections.Container",
        ),
        (
            error("AttributeError", "module 'collections' has no attribute 'Mapping'"),
            "Python 3.10 removed collections.Mapping",
        ),
        (
            error("ImportModuleError", "…", "ModuleNotFoundError: No module named 'urllib3.packages.six.moves'"),
            "Python 3.12 removed six.moves",
        ),
        (
            error("AttributeError", "module 'time' has no attribute 'clock'"),
            "Python 3.8 removed time.clock",
        ),
        (
            error("ImportModuleError", "…", "ImportError: cannot import name 'getargspec' from 'inspect' (/b.py)"),
            "Python 3.11 removed inspect.getargspec",
        ),
        (error("ModuleNotFoundError", "No module named 'imp'"), "Python 3.12 removed imp"),
    ],
)
def test_what_newer_pythons_lack_is_told_with_an_older_runtime(payload: bytes, said: str) -> None:
    (line,) = hints.of_error(payload, "main")
    assert line.startswith(said)
    assert "--runtime" in line


@pytest.mark.parametrize(
    ("said", "package"),
    [
        ("Error: Cannot find module 'express'", "express"),
        ("Error: Cannot find module 'uuid/v4'", "uuid"),
        ("Error: Cannot find package '@alicloud/cr' imported from /code/index.mjs", "@alicloud/cr"),
    ],
)  # fmt: skip
def test_a_missing_package_of_node_is_named_with_the_way_to_bring_it(said: str, package: str) -> None:
    told = {"errorType": "ImportModuleError", "errorMessage": "Unable to import module 'index'", "stackTrace": [said]}
    (line,) = hints.of_error(json.dumps(told).encode())
    assert f"`npm install {package}` in the code's folder" in line
    told["stackTrace"] = ["Error: Cannot find module 'raw-body'"]
    (line,) = hints.of_error(json.dumps(told).encode())
    assert "runtimes install nodejs` on the server's machine" in line
    told["stackTrace"] = ["Error: Cannot find module './dist/index'", "Error: Cannot find module '/code/x'"]
    assert not list(hints.of_error(json.dumps(told).encode()))


def test_an_asgi_application_is_told_where_it_runs() -> None:
    payload = error("TypeError", "FastAPI.__call__() missing 1 required positional argument: 'send'")
    (line,) = hints.of_error(payload)
    assert "a custom runtime" in line


def test_handlers_and_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()
    assert not list(hints.of_names(tmp_path, "main.handler", ""))
    assert list(hints.of_names(tmp_path, "handler", "nope.init")) == [
        "A handler is MODULE.FUNCTION, as main.my_handler for my_handler in main.py; found 'handler'.",
        f"There is no nope.py in {tmp_path}; --code names the folder of the code.",
    ]


def test_a_file_in_place_of_a_handler_is_told(tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()
    assert list(hints.of_names(tmp_path, "main.py")) == [
        "A handler is MODULE.FUNCTION, and 'main.py' is a file: name a function of it, as main.FUNCTION."
    ]
