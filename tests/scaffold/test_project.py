"""A new project is whole, its template is read without a note, its own tests pass, and nothing is overwritten."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import command_line, plain_pytest

from sesame.cli.new import new
from sesame.deploy import serverless_devs
from sesame.model import limits
from sesame.model.errors import ConfigurationError
from sesame.scaffold import project

README_LINES_MAX = 15


def make(folder: Path, kind: str = "event", runtime: str = "python3.12") -> project.Made:
    return project.make(project.Wanted(folder, kind, runtime))


def test_a_folder_whose_name_is_not_utf8_is_named_as_well_as_can_be(tmp_path: Path) -> None:
    made = make(tmp_path / os.fsdecode(b"shop\xff1"))
    assert made.service == "shop-1"
    assert (made.folder / "README.md").read_text().startswith("# shop?1")


@pytest.mark.parametrize("runtime", limits.SANDBOXED_RUNTIMES)
@pytest.mark.parametrize("kind", project.KINDS)
def test_the_template_is_read_without_a_note(
    tmp_path: Path, kind: str, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OSS_ENDPOINT", raising=False)
    made = make(tmp_path / "shop", kind, runtime)
    options = serverless_devs.Options(account_id="123", region="cn-shanghai")
    found = serverless_devs.read(made.folder / "s.yaml", options)
    assert not found.notes
    (function,) = found.functions
    assert (function.service, function.name, function.fields["runtime"]) == ("shop", made.function, runtime)
    assert function.code.path == made.folder / "code"
    assert [trigger.fields["triggerType"] for trigger in found.triggers] == ([] if kind == "event" else [kind])
    assert len((made.folder / "README.md").read_text().splitlines()) <= README_LINES_MAX
    assert (made.folder / "code" / "requirements.txt").exists() == (kind == "http")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.thorough if kind == "timer" else ())
        for kind in project.KINDS
        if kind != "http"
    ],
)
def test_its_own_tests_pass(tmp_path: Path, kind: str) -> None:
    made = make(tmp_path / "shop", kind)
    command = [sys.executable, "-m", "pytest", "-q", *plain_pytest.OPTIONS, "-p", "no:asyncio", str(made.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, cwd=made.folder)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["no", "True", "null", "y", "a b: c", "中 shop", "_", "N" * 100])
def test_any_name_makes_a_template_that_can_be_read(tmp_path: Path, name: str) -> None:
    made = make(tmp_path / name, "oss")
    assert limits.SERVICE_NAME.match(made.service)
    found = serverless_devs.read(
        made.folder / "s.yaml", serverless_devs.Options(account_id="123", region="cn-shanghai")
    )
    assert [each.name for each in found.services] == [made.service]
    bucket = found.triggers[0].fields["sourceArn"].rpartition(":")[2]
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", bucket)


@pytest.mark.parametrize("name", ["1st", "中文", "n" * 129])
def test_a_name_that_no_service_may_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is to be the service's, which"):
        make(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("present", ["s.yaml", "template.yml", "README.md", "code/index.py", "code"])
def test_nothing_is_overwritten(tmp_path: Path, present: str) -> None:
    path = tmp_path / "shop" / present
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises((ConfigurationError, OSError)):
        make(tmp_path / "shop")
    assert path.read_text() == "mine"
    assert [each for each in (tmp_path / "shop").rglob("*") if each.is_file()] == [path]


def test_it_may_be_made_in_a_folder_that_has_other_files(tmp_path: Path) -> None:
    (tmp_path / "shop" / ".git").mkdir(parents=True)
    assert "s.yaml" in make(tmp_path / "shop").files


def test_a_project_of_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    assert new.name == "new"
    said = command_line.sesame("new", "--runtime", "python2.7")
    assert "+ code/index.py" in said.stdout
    assert "shop/hello for python2.7. Next: sesame deploy" in said.stderr
    assert "already, and files are never overwritten" in command_line.sesame("new", expect=1).stderr
