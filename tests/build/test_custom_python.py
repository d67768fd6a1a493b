"""Packages of a custom runtime's function are for the Python that its program is started with."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sesame.build import custom_python as custom
from sesame.build.builder import Builder
from sesame.build.installer import Installer
from sesame.build.requirements import Requirements
from sesame.deploy.project import Code, Function, Place, Project
from sesame.sandbox.addresses import DEFAULT_PATH
from sesame.sandbox.runtimes.interpreters import Answer, Interpreter

SYSTEM = Interpreter("custom", Path("/usr/bin/python3"), "3.11.2", Path("/usr"))


def function(folder: Path, runtime: str = "custom.debian10", **fields: Any) -> Function:
    code = folder / "code"
    code.mkdir(exist_ok=True)
    place = Place(str(folder))
    return Function(
        service="$f", name="f", fields={"runtime": runtime, "handler": "h", **fields}, code=Code(path=code), place=place
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of which programs it was asked whether they are a Python; /usr/bin/python3 is the only one."""
    found: list[str] = []

    def probe(path: Path, _environ: object) -> Answer | None:
        found.append(str(path))
        return Answer("3.11.2", "cpython", str(path), "/usr", "/usr") if str(path) == "/usr/bin/python3" else None

    monkeypatch.setattr(custom, "probe", probe)
    return found


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        (["python3"], ["-u", "index.py"], "/usr/bin/python3"),
        (["/usr/bin/python3", "app.py"], [], "/usr/bin/python3"),
        (["/var/fc/lang/python3.10/bin/python3"], ["app.py"], "/usr/bin/python3"),
        (["gunicorn"], ["-c", "gunicorn_conf.py", "app:app"], "/usr/bin/python3"),
        (["/code/bin/uvicorn", "main:app"], [], "/usr/bin/python3"),
        (["sh", "-c", "exec python3 app.py"], [], "/usr/bin/python3"),
        (["sh", "start.sh"], [], "/usr/bin/python3"),
        (["/bin/bash", "/code/start.sh"], [], "/usr/bin/python3"),
        (["env", "A=1", "python3"], ["app.py"], "/usr/bin/python3"),
        (["python3.7"], ["app.py"], "python3.7"),
        (["node"], ["index.js"], None),
        (["./server"], [], None),
        (["../../secret"], [], None),
    ],
)
def test_the_command_says_which(
    tmp_path: Path, asked: list[str], command: list[str], args: list[str], expected: str | None
) -> None:
    one = function(tmp_path, customRuntimeConfig={"command": command, "args": args})
    (tmp_path / "code/start.sh").write_text("#!/bin/sh\n# python2 is gone\nexport PYTHONPATH=/code\npython3 app.py\n")
    (tmp_path / "code/server").write_bytes(b"\x7fELF\0 python3 ")
    found = custom.custom_python(one)
    assert (str(found.path) if isinstance(found, Interpreter) else found) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#!/usr/bin/env python3\nimport os\n", "/usr/bin/python3"),
        ("#!/bin/sh\nexport PATH=/var/fc/lang/python3.10/bin:$PATH\nexec gunicorn app:app\n", "/usr/bin/python3"),
        ("#!/usr/bin/env bash\nnode server.js\n", None),
        ("#!/bin/sh\ncp python.txt /tmp; my-python3 x; ./server\n", None),
    ],
)
def test_a_start_script_says_which(tmp_path: Path, asked: list[str], text: str, expected: str | None) -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("bootstrap", {}),
        ("run", {"environmentVariables": {"BOOTSTRAP_FILE": "run"}}),
    ]
    for name, fields in cases:
        one = function(tmp_path, **fields)
        (tmp_path / "code" / name).write_text(text)
        found = custom.custom_python(one)
        assert (str(found.path) if isinstance(found, Interpreter) else found) == expected, name
        (tmp_path / "code" / name).unlink()
    assert custom.custom_python(function(tmp_path)) is None


def test_the_functions_path_is_searched_but_not_in_code_and_layers(tmp_path: Path, asked: list[str]) -> None:
    search = "/code/bin:/opt/python3.10/bin:/var/fc/lang/python3.10/bin:/usr/bin"
    one = function(tmp_path, customRuntimeConfig={"command": ["python3"]}, environmentVariables={"PATH": search})
    assert isinstance(custom.custom_python(one), Interpreter)
    assert asked == ["/var/fc/lang/python3.10/bin/python3", "/usr/bin/python3"]


@pytest.mark.parametrize("runtime", ["custom-container", "nodejs20", "python3.12"])
def test_other_runtimes_have_none(tmp_path: Path, asked: list[str], runtime: str) -> None:
    assert custom.custom_python(function(tmp_path, runtime, customRuntimeConfig={"command": ["python3"]})) is None


class FakeInstaller(Installer):
    def __init__(self, folder: Path, program: str = "") -> None:
        super().__init__(folder, {}, lambda line: None, fresh=False)
        self._program = program
        self.asked: list[tuple[str, Interpreter | None]] = []

    def install(self, requirements: Requirements, runtime: str, own: Interpreter | None = None) -> Any:
        from sesame.build.installer import Installed

        self.asked.append((runtime, own))
        folder = self._cache / "packages"
        folder.mkdir(exist_ok=True)
        (folder / "made_up.py").write_text("")
        if self._program:
            (folder / "bin").mkdir(exist_ok=True)
            (folder / "bin" / self._program).touch()
        return Installed(folder)


def test_packages_lie_beside_the_code(tmp_path: Path, asked: list[str]) -> None:
    one = function(tmp_path, customRuntimeConfig={"command": ["python3"], "args": ["app.py"]})
    (tmp_path / "code/requirements.txt").write_text("made-up\n")
    (tmp_path / "code/app.py").write_text("import made_up\n")
    made = Project(source=tmp_path, functions=(one,))
    installer = FakeInstaller(tmp_path)
    _project, [done] = Builder(made, installer, lambda line: None).build_all()
    assert done.folder is not None, done.reason
    assert sorted(os.listdir(done.folder)) == ["app.py", "made_up.py", "requirements.txt"]
    [(runtime, own)] = installer.asked
    assert runtime == "custom.debian10"
    assert own is not None
    assert own.path == SYSTEM.path


@pytest.mark.parametrize(
    ("given", "path", "modules"),
    [
        ({}, f"/code/bin:{DEFAULT_PATH}", "/code"),
        ({"PATH": "/own/bin", "PYTHONPATH": "/lib", "A": "1"}, "/code/bin:/own/bin", "/code:/lib"),
    ],
)
def test_programs_of_packages_are_found_by_name(
    tmp_path: Path, asked: list[str], given: dict[str, str], path: str, modules: str
) -> None:
    one = function(tmp_path, customRuntimeConfig={"command": ["gunicorn", "app:app"]}, environmentVariables=given)
    (tmp_path / "code/requirements.txt").write_text("made-up\n")
    installer = FakeInstaller(tmp_path, program="gunicorn")
    project, [done] = Builder(Project(source=tmp_path, functions=(one,)), installer, lambda line: None).build_all()
    assert done.folder is not None, done.reason
    assert os.listdir(done.folder / "bin") == ["gunicorn"]
    assert project.functions[0].fields["environmentVariables"] == {**given, "PATH": path, "PYTHONPATH": modules}


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONPATH": "/code/python"}, {"PATH": "/code/python/bin:/usr/bin"}, {"PYTHONPATH": "/x:/code/python/lib"}],
)
def test_packages_lie_where_the_functions_variables_look_for_them(
    tmp_path: Path, asked: list[str], variables: dict[str, str]
) -> None:
    """As in the vendor's own examples: the tool installs into /code/python."""
    one = function(tmp_path, customRuntimeConfig={"command": ["gunicorn", "app:app"]}, environmentVariables=variables)
    (tmp_path / "code/requirements.txt").write_text("made-up\n")
    made = Project(source=tmp_path, functions=(one,))
    _project, [done] = Builder(made, FakeInstaller(tmp_path), lambda line: None).build_all()
    assert done.folder is not None, done.reason
    assert sorted(os.listdir(done.folder)) == ["python", "requirements.txt"]
    assert os.listdir(done.folder / "python") == ["made_up.py"]


def test_a_python_that_is_not_here_is_told_and_the_code_is_deployed_as_it_is(tmp_path: Path, asked: list[str]) -> None:
    one = function(tmp_path, customRuntimeConfig={"command": ["python3.7", "app.py"]})
    (tmp_path / "code/requirements.txt").write_text("made-up\n")
    made = Project(source=tmp_path, functions=(one,))
    project, [done] = Builder(made, FakeInstaller(tmp_path), lambda line: None).build_all()
    assert project.functions == (one,)
    assert done.warnings == (f"requirements.txt is not installed: {done.reason}",)
    assert "starts python3.7, which is not on this machine" in done.reason


def test_the_systems_own_is_found(tmp_path: Path) -> None:
    one = function(tmp_path, customRuntimeConfig={"command": ["python3"]})
    found = custom.custom_python(one)
    assert isinstance(found, Interpreter)
    # The system's, or where it has none Sesame's own.
    assert found.path.exists() or sys.platform != "linux"


@pytest.mark.parametrize("runtime", ["nodejs20", "custom.debian10"])
def test_packages_of_node_that_are_not_installed_are_named(tmp_path: Path, runtime: str) -> None:
    made = function(tmp_path, runtime)
    code = tmp_path / "code"
    (code / "package.json").write_text('{"dependencies": {"a": "1", "b": "1", "c": "1", "d": "1"}}')
    builder = Builder(Project(source=tmp_path), Installer(tmp_path, {}, print, fresh=False), print)
    (warning,) = builder.build(made)[1].warnings
    assert warning.startswith("package.json names a, b, c, …, and there is no node_modules")
    assert f"`npm install --omit=dev` in {code}" in warning
    (code / "node_modules").mkdir()
    assert not builder.build(made)[1].warnings
    (code / "node_modules").rmdir()
    (code / "package.json").write_text("{")
    assert "cannot be read" in builder.build(made)[1].warnings[0]
