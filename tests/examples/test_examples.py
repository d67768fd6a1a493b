"""Every example is a project that deploys, with a test that passes: run as its reader would, by the pytest plugin."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import plain_pytest

from sesame.deploy import sources

EXAMPLES = Path(__file__).parents[2] / "examples"
PROJECTS = sorted(path for path in EXAMPLES.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
# Their tests install packages or wait; `make test-all` has them.
LATER = ("http-flask", "timer-cleanup")
TEMPLATES = ("template.yml", "s.yaml")


def template_of(project: Path) -> Path:
    (found,) = (project / name for name in TEMPLATES if (project / name).exists())
    return found


def test_there_are_twelve_and_each_is_on_the_list() -> None:
    listed = re.findall(r"^\| \[([\w-]+)\]\(([\w-]+)/\)", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert len(PROJECTS) == 12
    assert sorted(listed) == [(each.name, each.name) for each in PROJECTS]


@pytest.mark.parametrize("project", PROJECTS, ids=lambda each: each.name)
def test_nothing_in_its_template_is_wrong_or_without_meaning(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYER", "acs:fc:cn-shanghai:1234567890123456:layers/salutations/versions/1")
    context = sources.Context(account_id="1234567890123456", region="cn-shanghai")
    read = sources.read(template_of(project), context)
    assert not read.errors
    assert not read.notes
    assert read.functions


@pytest.mark.parametrize(
    "projects",
    [[each for each in PROJECTS if each.name not in LATER], pytest.param(PROJECTS, marks=pytest.mark.thorough)],
    ids=["first", "all"],
)
def test_their_tests_pass(projects: list[Path]) -> None:
    """In one run, so that they share a Sesame."""
    command = [sys.executable, "-m", "pytest", "-q", *plain_pytest.OPTIONS, "-p", "no:asyncio", "-rA"]
    command += [each.name for each in projects]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for project in projects:
        assert re.search(rf"^PASSED {re.escape(project.name)}/", done.stdout, re.MULTILINE), (
            f"{project.name} has no test"
        )
    assert "skipped" not in done.stdout
