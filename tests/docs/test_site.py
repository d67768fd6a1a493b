"""The documentation site builds without a warning, its reference is that of the code, and links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from scripts import docs_reference
from tests.docs.blocks import REPOSITORY

from sesame.cli.main import COMMANDS, cli
from sesame.model import limits
from sesame.settings import TABLE

_LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_on_the_site_and_none_asks_another_server(site: Path) -> None:
    pages = {path.relative_to(REPOSITORY / "docs").with_suffix(".html") for path in REPOSITORY.glob("docs/**/*.md")}
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    assert not pages - built
    assert {Path("reference", f"{name}.html") for name in ("cli", "settings", "errors", "limits")} <= built
    loaded = re.compile(r'<(?:script|img)[^>]+src="https?:|<link[^>]+rel="stylesheet"[^>]+href="https?:')
    assert not [path for path in built if loaded.search((site / path).read_text())]


def test_the_reference_has_every_command_option_and_setting(site: Path) -> None:
    commands = (site / "reference" / "cli.html").read_text()
    for name in COMMANDS:
        assert f"<code>sesame {name}</code>" in commands
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for option in (each for each in command.params if isinstance(each, click.Option) and not each.hidden):
            assert option.opts[0] in commands
    settings = (site / "reference" / "settings.html").read_text()
    assert all(f"<code>{name}</code>" in settings for name in TABLE)


def test_the_reference_has_every_error_and_limit(site: Path) -> None:
    errors = (site / "reference" / "errors.html").read_text()
    for code in (
        "ServiceNotFound",
        "InvalidArgument",
        "ResourceExhausted",
        "AccessDenied",
        "NoSuchKey",
        "EntityTooLarge",
    ):
        assert f"<code>{code}</code>" in errors
    assert len(docs_reference.fc_codes()) > 40
    page = (site / "reference" / "limits.html").read_text()
    for value in (limits.SYNC_PAYLOAD_BYTES, limits.TIMEOUT_S_MAX):
        assert f"<td>{value:,}</td>" in page


def test_a_limit_without_a_description_is_shown_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NEW_BYTES_MAX", 12345, raising=False)
    monkeypatch.delattr(limits, "CODE_ENTRIES")
    page = docs_reference.limits_page()
    assert "| new bytes max | 12,345 |  |" in page
    assert "files and folders in a code package" not in page


@pytest.mark.thorough
def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    """A site of one page, with the same hook and checks."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Home\n\n[inside](nothing.md), [outside](../nothing.txt)\n")
    config = (REPOSITORY / "mkdocs.yml").read_text()
    config = config.partition("\nnav:")[0].replace(
        "scripts/docs_hooks.py", str(REPOSITORY / "scripts" / "docs_hooks.py")
    )
    (tmp_path / "mkdocs.yml").write_text(config + "\nnav: [{Home: index.md}, {Tasks: []}, {Inside: []}]\n")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=tmp_path, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "nothing.md" in done.stderr
    assert "nothing.txt" in done.stderr


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SPECIFICATION.md", "CHANGELOG.md"])
def test_links_of_pages_outside_the_site_lead_to_files(name: str) -> None:
    links = _LINK.findall((REPOSITORY / name).read_text())
    generated = set(docs_reference.pages())
    missing = [
        link for link in links if not (REPOSITORY / link).exists() and link.removeprefix("docs/") not in generated
    ]
    assert not missing
