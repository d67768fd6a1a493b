"""Interpreters are found where they are, proved by running them, and replaced only where that is allowed."""

import os
import sys
from pathlib import Path

import pytest

from sesame.model.errors import ConfigurationError
from sesame.sandbox import interpreters
from sesame.sandbox.interpreters import discover


def fake_python(folder: Path, name: str, version: str, implementation: str = "CPython", prefix: str = "/fake") -> Path:
    """A program that answers the probe as if it were that interpreter."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    answer = (
        f'{{"version": "{version}", "implementation": "{implementation}", "executable": "{path}", '
        f'"prefix": "{prefix}", "base_prefix": "/fake"}}'
    )
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


def broken_shim(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def no_usual_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "_usual_folders", lambda wanted: iter(()))


def world(tmp_path: Path, *path: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join(map(str, path)), "HOME": str(tmp_path / "home")}


def test_path_comes_before_pyenv_and_pyenv_before_uv(tmp_path: Path) -> None:
    on_path = fake_python(tmp_path / "bin", "python3.9", "3.9.1")
    in_pyenv = fake_python(tmp_path / "home/.pyenv/versions/3.9.18/bin", "python3.9", "3.9.18")
    in_uv = fake_python(tmp_path / "home/.local/share/uv/python/cpython-3.9.20-linux/bin", "python3.9", "3.9.20")
    environ = world(tmp_path, tmp_path / "bin")
    for expected in (on_path, in_pyenv, in_uv):
        assert discover(environ=environ)["python3.9"].path == expected
        expected.unlink()
    assert "python3.9" not in discover(environ=environ)


def test_a_failing_shim_and_a_foreign_implementation_are_passed_over(tmp_path: Path) -> None:
    broken_shim(tmp_path / "shims", "python2.7")
    fake_python(tmp_path / "pypy", "python2.7", "2.7.18", implementation="PyPy")
    right = fake_python(tmp_path / "right", "python2.7", "2.7.18")
    environ = world(tmp_path, tmp_path / "shims", tmp_path / "pypy", tmp_path / "right")
    assert discover(environ=environ)["python2.7"].path == right


def test_the_newest_pyenv_version_of_a_minor_wins_by_number(tmp_path: Path) -> None:
    for version in ("3.10.2", "3.10.13", "3.10.9"):
        fake_python(tmp_path / "home/.pyenv/versions" / version / "bin", "python3.10", version)
    assert discover(environ=world(tmp_path))["python3.10"].version == "3.10.13"


def test_pyenvs_versions_are_taken_rather_than_its_shims(tmp_path: Path) -> None:
    fake_python(tmp_path / "home/.pyenv/shims", "python2.7", "2.7.1")
    real = fake_python(tmp_path / "home/.pyenv/versions/2.7.18/bin", "python2.7", "2.7.18")
    environ = world(tmp_path, tmp_path / "home/.pyenv/shims")
    assert discover(environ=environ)["python2.7"].path == real


def test_pyenv_root_is_honoured(tmp_path: Path) -> None:
    fake_python(tmp_path / "elsewhere/versions/2.7.18/bin", "python2.7", "2.7.18")
    environ = world(tmp_path) | {"PYENV_ROOT": str(tmp_path / "elsewhere")}
    assert discover(environ=environ)["python2.7"].version == "2.7.18"


def test_a_virtual_environment_is_left_for_the_interpreter_below_it(tmp_path: Path) -> None:
    fake_python(tmp_path / "venv", "python3.12", "3.12.1", prefix="/venv")
    assert "python3.12" not in discover(environ=world(tmp_path, tmp_path / "venv"))


def test_missing_python3_is_substituted_by_the_nearest_newer_one_and_says_so(tmp_path: Path) -> None:
    fake_python(tmp_path / "bin", "python3.9", "3.9.18")
    nearest = fake_python(tmp_path / "bin", "python3.8", "3.8.18")
    found = discover(environ=world(tmp_path, tmp_path / "bin"))
    assert found["python3"].path == nearest
    assert found["python3"].substitute_for == "3.6"
    assert "CPython 3.8.18" in found["python3"].notice
    assert "CPython 3.6 was not found" in found["python3"].notice
    assert found["python3.9"].notice == ""


def test_other_runtimes_are_never_substituted(tmp_path: Path) -> None:
    fake_python(tmp_path / "bin", "python3.12", "3.12.1")
    assert set(discover(environ=world(tmp_path, tmp_path / "bin"))) == {"python3", "python3.12"}


def test_an_override_goes_first_and_must_be_what_it_says(tmp_path: Path) -> None:
    fake_python(tmp_path / "bin", "python3.9", "3.9.1")
    chosen = fake_python(tmp_path / "mine", "python", "3.9.7")
    environ = world(tmp_path, tmp_path / "bin")
    assert discover({"python3.9": chosen}, environ)["python3.9"].path == chosen
    with pytest.raises(ConfigurationError, match=r"is CPython 3.9.7; expected CPython 2.7"):
        discover({"python2.7": chosen}, environ)
    with pytest.raises(ConfigurationError, match="does not exist"):
        discover({"python2.7": tmp_path / "nowhere"}, environ)
    with pytest.raises(ConfigurationError, match=r"no runtime 'python3.6'"):
        discover({"python3.6": chosen}, environ)


def test_this_very_interpreter_answers_the_probe() -> None:
    answer = interpreters._probe(Path(sys.executable), os.environ)
    assert answer is not None
    assert answer.is_cpython(sys.version_info[:2])


def test_every_runtime_has_advice() -> None:
    for runtime in interpreters.MINOR_VERSIONS:
        assert "pyenv install" in interpreters.how_to_get(runtime)
