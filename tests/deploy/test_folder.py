"""A folder without a template is a function where its handler is plain."""

from pathlib import Path

import pytest

from sesame.deploy import folder
from sesame.deploy.folder import Wanted
from sesame.deploy.project import TemplateError

EVENT = "def handler(event, context):\n    return event\n"
WSGI = "def handler(environ, start_response):\n    return [b'']\n"


def project(tmp_path: Path, files: dict[str, str]) -> Path:
    place = tmp_path / "hello"
    place.mkdir()
    for name, text in files.items():
        (place / name).write_text(text)
    return place


def test_the_handler_is_found_by_the_usual_names(tmp_path: Path) -> None:
    found = folder.read(project(tmp_path, {"index.py": EVENT, "helper.py": "def a(b, c):\n    pass\n"}), Wanted())
    (function,) = found.functions
    assert (function.service, function.name, function.fields["handler"]) == ("default", "hello", "index.handler")
    assert function.fields["runtime"] == "python3.12"
    assert not found.triggers


def test_a_wsgi_application_gets_a_trigger(tmp_path: Path) -> None:
    (trigger,) = folder.read(project(tmp_path, {"main.py": WSGI}), Wanted()).triggers
    assert trigger.fields["triggerConfig"]["authType"] == "anonymous"
    flask = project(tmp_path / "f", {}) if (tmp_path / "f").mkdir() else tmp_path / "f" / "hello"
    flask.mkdir(exist_ok=True)
    (flask / "app.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    found = folder.read(flask, Wanted())
    assert (found.functions[0].fields["handler"], len(found.triggers)) == ("app.app", 1)


@pytest.mark.parametrize("source", ["print 'x'\n" + EVENT, "try:\n    a\nexcept A, b:\n    pass\n" + EVENT])
def test_sources_that_only_python_2_reads_run_under_it(tmp_path: Path, source: str) -> None:
    (function,) = folder.read(project(tmp_path, {"index.py": source}), Wanted()).functions
    assert function.fields["runtime"] == "python2.7"


def test_the_newest_runtime_that_is_here(tmp_path: Path) -> None:
    wanted = Wanted(runtimes=("python2.7", "python3", "python3.9"))
    assert folder.read(project(tmp_path, {"index.py": EVENT}), wanted).functions[0].fields["runtime"] == "python3.9"


@pytest.mark.parametrize(
    ("tags", "runtime"),
    [
        (["cp36-cp36m-manylinux1_x86_64"], "python3"),
        (["cp27-none-any", "cp27-cp27mu-linux_x86_64", "py2-none-any"], "python3.12"),
        (["cp39-cp39-manylinux2014_x86_64", "py3-none-any"], "python3.9"),
        (["py2-none-any", "py3-none-any"], "python3.12"),
        (["cp36-abi3-manylinux1_x86_64"], "python3.12"),
        (["cp36-cp36m-linux_x86_64", "cp39-cp39-linux_x86_64"], "python3.12"),
        (["cp37-cp37m-linux_x86_64"], "python3.12"),
    ],
)
def test_packages_in_the_folder_say_what_they_were_made_for(tmp_path: Path, tags: list[str], runtime: str) -> None:
    place = project(tmp_path, {"index.py": EVENT})
    for number, tag in enumerate(tags):
        (place / f"p{number}-1.0.dist-info").mkdir()
        (place / f"p{number}-1.0.dist-info" / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {tag}\n")
    assert folder.read(place, Wanted()).functions[0].fields["runtime"] == runtime


def test_what_is_given_is_not_guessed(tmp_path: Path) -> None:
    place = project(tmp_path, {"a.py": "def one(x, y):\n    pass\ndef two(x, y):\n    pass\n"})
    wanted = Wanted(service="s", function="f", handler="a.two", runtime="python3", environment={"A": "1"})
    (function,) = folder.read(place, wanted).functions
    assert (function.service, function.name, function.fields["handler"]) == ("s", "f", "a.two")
    assert (function.fields["runtime"], function.fields["environmentVariables"]) == ("python3", {"A": "1"})
    with pytest.raises(TemplateError, match=r"several handlers are possible \(a.one, a.two\)"):
        folder.read(place, Wanted())


def test_a_folder_without_a_handler_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"no handler was found in a.py: expected def handler\(event, context\)"):
        folder.read(project(tmp_path, {"a.py": "x = 1\n"}), Wanted())


def test_one_file_is_a_function_too(tmp_path: Path) -> None:
    (function,) = folder.read(project(tmp_path, {"job.py": EVENT}) / "job.py", Wanted()).functions
    assert (function.name, function.fields["handler"]) == ("job", "job.handler")


def test_what_git_ignores_belongs_to_the_code(tmp_path: Path) -> None:
    """Keys in a config.py are kept out of a repository, and needed by the function."""
    (tmp_path / "index.py").write_text("import config\ndef handler(event, context):\n    return config.KEY\n")
    (tmp_path / "config.py").write_text("KEY = 1\n")
    (tmp_path / ".gitignore").write_text("config.py\n")
    assert folder.ignore_file(tmp_path) is None
    (tmp_path / ".funignore").write_text("config.py\n")
    assert folder.ignore_file(tmp_path) == tmp_path / ".funignore"


def test_a_folder_with_only_a_program_is_a_custom_runtime(tmp_path: Path) -> None:
    place = project(tmp_path, {"bootstrap": "#!/bin/sh\nexec ./server\n"})
    found = folder.read(place, Wanted(service="s", function="f"))
    (function,) = found.functions
    assert (function.runtime, function.fields["handler"], function.code.left_out) == ("custom", "index.handler", ())
    assert not found.triggers
    assert "its program is bootstrap, so the runtime is custom" in found.notes[0].text
    (trigger,) = folder.read(place, Wanted(http=True, runtime="custom.debian12")).triggers
    assert trigger.fields["triggerType"] == "http"
    (place / "index.py").write_text(EVENT)
    assert folder.read(place, Wanted()).functions[0].runtime == "python3.12"
    assert folder.read(place, Wanted(runtime="custom.debian10")).functions[0].runtime == "custom.debian10"
    (place / "bootstrap").unlink()
    with pytest.raises(TemplateError, match=r"the runtime custom starts .* expected a file bootstrap"):
        folder.read(place, Wanted(runtime="custom"))


def test_a_folder_without_anything_is_told_of_custom_runtimes(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="or a file bootstrap that starts a program"):
        folder.read(project(tmp_path, {"server": "x"}), Wanted())


@pytest.mark.parametrize(("name", "text"), [("Funfile", "runtime python3 \n"), ("fun.yml", "runtime: python3\n")])
def test_the_runtime_for_which_packages_are_installed_is_the_functions(tmp_path: Path, name: str, text: str) -> None:
    place = project(tmp_path, {"index.py": EVENT, name: text})
    assert folder.read(place, Wanted()).functions[0].runtime == "python3"
    assert folder.read(place, Wanted(runtime="python3.9")).functions[0].runtime == "python3.9"
    (place / name).write_text(text.replace("python3", "python4"))
    with pytest.raises(TemplateError, match=f"{name}: found the runtime 'python4', expected one of python2.7"):
        folder.read(place, Wanted())
