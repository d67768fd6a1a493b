"""Which Sesame this is: the stamp of a build, else the checkout, else only the version; git may be missing."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support import command_line

from sesame import __version__
from sesame._installed import COMMIT_FILE, build_of
from sesame.cli import version


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit and a package in `src/`; returns the package."""
    package = tmp_path / "src" / "sesame"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    for arguments in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return package


def head(package: Path) -> str:
    asked = ["git", "-C", str(package), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def test_a_checkout_names_its_commit_and_whether_it_was_changed(checkout: Path) -> None:
    assert version.describe(checkout) == f"{__version__} (commit {head(checkout)})"
    (checkout / "untracked.py").write_text("")
    assert version.commit_of(checkout) == head(checkout)
    (checkout / "__init__.py").write_text("changed = True\n")
    assert version.commit_of(checkout) == f"{head(checkout)}, changed"


def test_a_variable_of_gits_hooks_does_not_name_another_repository(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert version.commit_of(checkout)


def test_the_stamp_of_a_build_outweighs_the_repository_around_it(checkout: Path) -> None:
    (checkout / COMMIT_FILE).write_text("0123456789ab\n")
    assert version.commit_of(checkout) == "0123456789ab"


def test_a_package_installed_below_somebody_elses_repository_names_no_commit(checkout: Path, tmp_path: Path) -> None:
    installed = tmp_path / "venv" / "lib" / "site-packages" / "sesame"
    installed.mkdir(parents=True)
    assert version.describe(installed) == __version__
    nested = tmp_path / "vendored" / "src" / "sesame"
    nested.mkdir(parents=True)
    assert version.describe(nested) == __version__


def test_without_git_the_version_stands_alone(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert version.describe(checkout) == __version__


def test_the_command_prints_it() -> None:
    assert command_line.sesame("--version").stdout == f"sesame {version.describe()}\n"


def test_builds_of_one_version_are_told_apart_and_bytecode_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = build_of(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    assert build_of(tmp_path) == first
    (tmp_path / "a.py").write_text("x = 2\n")
    assert build_of(tmp_path) != first
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").touch()
    assert build_of(tmp_path) != first
