"""Interpreters are found where they are, proved by running them, and replaced only where that is allowed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes import interpreters, places
from sesame.sandbox.runtimes.interpreters import discover
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.runtimes.site_packages import SitePackages


def fake_python(folder: Path, name: str, version: str, implementation: str = "CPython", prefix: str = "/fake") -> Path:
    """A program that answers the probe as if it were that interpreter."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    answer = "".join(f"\\000{field}" for field in (version, implementation, path, prefix, "/fake"))
    path.write_text(f"#!/bin/sh\nprintf '{answer}\\000'\n")
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
    monkeypatch.setattr(interpreters, "usual_folders", lambda wanted: iter(()))
    monkeypatch.setattr(places, "default_root", lambda: Path("/nonexistent"))


def world(tmp_path: Path, *path: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join(map(str, path)), "HOME": str(tmp_path / "home")}


def test_what_sesame_brought_comes_first_then_path_then_pyenv_then_uv(tmp_path: Path) -> None:
    own = fake_python(tmp_path / "own/conda/cpython-3.9.1-linux-64/bin", "python3.9", "3.9.2")
    fake_python(tmp_path / "own/conda/.cpython-3.9.9-linux-64.1.part/bin", "python3.9", "3.9.9")
    on_path = fake_python(tmp_path / "bin", "python3.9", "3.9.1")
    in_pyenv = fake_python(tmp_path / "home/.pyenv/versions/3.9.18/bin", "python3.9", "3.9.18")
    in_uv = fake_python(tmp_path / "home/.local/share/uv/python/cpython-3.9.20-linux/bin", "python3.9", "3.9.20")
    environ = world(tmp_path, tmp_path / "bin")
    for expected in (own, on_path, in_pyenv, in_uv):
        assert discover(environ=environ, own=tmp_path / "own")["python3.9"].path == expected
        expected.unlink()
    assert "python3.9" not in discover(environ=environ, own=tmp_path / "own")


def test_a_failing_shim_and_another_implementation_are_skipped(tmp_path: Path) -> None:
    broken_shim(tmp_path / "shims", "python2.7")
    fake_python(tmp_path / "pypy", "python2.7", "2.7.18", implementation="PyPy")
    right = fake_python(tmp_path / "right", "python2.7", "2.7.18")
    environ = world(tmp_path, tmp_path / "shims", tmp_path / "pypy", tmp_path / "right")
    assert discover(environ=environ)["python2.7"].path == right


def test_the_newest_pyenv_version_of_a_minor_wins_by_number(tmp_path: Path) -> None:
    for version in ("3.10.2", "3.10.13", "3.10.9"):
        fake_python(tmp_path / "home/.pyenv/versions" / version / "bin", "python3.10", version)
    assert discover(environ=world(tmp_path))["python3.10"].version == "3.10.13"


def test_pyenvs_versions_are_preferred_to_its_shims(tmp_path: Path) -> None:
    fake_python(tmp_path / "home/.pyenv/shims", "python2.7", "2.7.1")
    real = fake_python(tmp_path / "home/.pyenv/versions/2.7.18/bin", "python2.7", "2.7.18")
    environ = world(tmp_path, tmp_path / "home/.pyenv/shims")
    assert discover(environ=environ)["python2.7"].path == real


def test_pyenv_root_is_honoured(tmp_path: Path) -> None:
    fake_python(tmp_path / "elsewhere/versions/2.7.18/bin", "python2.7", "2.7.18")
    environ = world(tmp_path) | {"PYENV_ROOT": str(tmp_path / "elsewhere")}
    assert discover(environ=environ)["python2.7"].version == "2.7.18"


def test_a_virtual_environment_is_replaced_by_its_base_interpreter(tmp_path: Path) -> None:
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
    with pytest.raises(ConfigurationError, match="cannot be used: File name too long"):
        discover({"python2.7": tmp_path / ("x" * 300)}, environ)
    with pytest.raises(ConfigurationError, match=r"no runtime 'python3.6'"):
        discover({"python3.6": chosen}, environ)


def test_this_very_interpreter_answers_the_probe() -> None:
    answer = interpreters.probe(Path(sys.executable), os.environ)
    assert answer is not None
    assert answer.is_cpython(sys.version_info[:2])


def test_every_runtime_has_advice() -> None:
    for runtime in interpreters.MINOR_VERSIONS:
        assert f"sesame runtimes get {runtime}" in interpreters.how_to_get(runtime)
        assert "pyenv install" in interpreters.how_to_get(runtime)


@pytest.mark.parametrize(
    "program",
    [
        "exec sleep 60",
        "sleep 60 &\nsleep 60",
        "exec yes garbage",
        "echo garbage",
        "printf '\\000three\\000CPython\\000/x\\000/x\\000/x\\000'",
        "printf '\\0003.9.18\\000CPython\\000'",
        "printf '\\377\\376'",
        "kill -9 $$",
        "exit 0",
    ],
)
def test_a_broken_interpreter_counts_as_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(interpreters, "PROBE_TIMEOUT_S", 1.0)
    broken = tmp_path / "broken" / "python3.9"
    broken.parent.mkdir()
    broken.write_text(f"#!/bin/sh\n{program}\n")
    broken.chmod(0o755)
    right = fake_python(tmp_path / "right", "python3.9", "3.9.18")
    environ = world(tmp_path, broken.parent, right.parent) | {"PATH": f"{broken.parent}:{right.parent}:{os.defpath}"}
    assert discover(environ=environ, wanted=["python3.9"])["python3.9"].path == right


def test_a_search_ends_however_many_interpreters_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "SEARCH_TIMEOUT_S", 1.0)
    for number in range(20):
        hangs = tmp_path / "home/.pyenv/versions" / f"3.9.{number}" / "bin/python3.9"
        hangs.parent.mkdir(parents=True)
        hangs.write_text("#!/bin/sh\nexec sleep 60\n")
        hangs.chmod(0o755)
    began = time.monotonic()
    assert discover(environ=world(tmp_path) | {"PATH": os.defpath}, wanted=["python3.9"]) == {}
    assert time.monotonic() - began < 40


def test_what_an_interpreter_prints_at_its_start_is_not_its_answer(tmp_path: Path) -> None:
    path = fake_python(tmp_path / "bin", "python3.9", "3.9.18")
    path.write_text(path.read_text().replace("printf", "echo hello from sitecustomize\nprintf"))
    assert discover(environ=world(tmp_path, tmp_path / "bin"))["python3.9"].path == path


def test_an_unreadable_folder_ends_no_command(tmp_path: Path) -> None:
    """As an ordinary user, because nothing is unreadable to root."""
    closed = tmp_path / "closed"
    for folder in ("versions", "uv/python", ".pyenv/versions", ".local/share/uv/python", "deeper"):
        (closed / folder).mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    usual = {"HOME": "/nonexistent", "PATH": str(tmp_path / "empty")}
    worlds = [
        usual | {variable: str(tmp_path / place)}
        for variable in ("PYENV_ROOT", "PATH", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME", "HOME")
        for place in ("closed", "closed/deeper", "file", "file/deeper", "loop", "x" * 300, "closed:~none")
    ]
    code = (
        "import os, sys\nfrom sesame.sandbox.runtimes import interpreters, places, site_packages\n"
        "interpreters.usual_folders = lambda wanted: iter(())\n"
        "places.default_root = lambda: places.Path('/nonexistent')\n"
        "if os.getuid() == 0:\n    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"for environ in {worlds!r}:\n"
        "    found = interpreters.discover(environ=environ)\n"
        "    os.environ.update(environ)\n"
        "    assert site_packages.SitePackages(places.default_root(), found).manifest('python3.12') is None\n"
        "    assert found == {}\n"
    )
    closed.chmod(0o000)
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    finally:
        closed.chmod(0o700)
    assert done.returncode == 0, done.stderr


def test_a_runtime_without_an_interpreter_says_how_to_get_it_also_when_it_was_removed_later(tmp_path: Path) -> None:
    path = fake_python(tmp_path / "bin", "python3.9", "3.9.1")
    found = discover(environ=world(tmp_path, tmp_path / "bin"))
    runtimes = Runtimes(found, SitePackages(tmp_path / "packages", found))
    assert runtimes.launch("python3.9").interpreter == path
    assert runtimes.runs("python3.9")
    assert not runtimes.runs("python2.7")
    with pytest.raises(LookupError, match=r"python2\.7 cannot run here: .* not found.*pyenv install 2\.7"):
        runtimes.launch("python2.7")
    path.unlink()
    with pytest.raises(LookupError, match=r"python3\.9 cannot run here: .* removed .*`sesame runtimes get python3\.9`"):
        runtimes.launch("python3.9")
