"""What the build of the documentation site adds to MkDocs: generated pages, and links to files outside of docs/.

Loaded by MkDocs (mkdocs.yml). A link to a file of the repository that does not exist fails the build.
"""

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from docs_reference import pages
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)]*)?\))")
# Counted by `--strict`, as MkDocs' own warnings are.
log = logging.getLogger("mkdocs.hooks.docs")


def on_config(config: Any) -> Any:
    """Pages that mkdocs.yml does not name: decisions go below "Inside", all others below "Tasks"."""
    named = set(_paths(config["nav"]))
    docs = ROOT / "docs"
    for path in sorted(docs.rglob("*.md")):
        page = path.relative_to(docs).as_posix()
        if page not in named:
            section = "Inside" if path.parent.name == "adr" else "Tasks"
            _section(config["nav"], section).append({_title_of(path): page})
    return config


def _paths(nav: Any) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else _paths(value)


def _section(nav: Any, title: str) -> Any:
    return next(entry[title] for entry in nav if title in entry)


def _title_of(page: Path) -> str:
    first = page.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip() or page.stem


def on_files(files: Files, *, config: Any) -> Files:
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Links that leave docs/ lead to the repository."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def elsewhere(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(ROOT / "docs") and not target.is_dir():
            return link[0]
        if not (target.is_relative_to(ROOT) and target.exists()):
            log.warning("%s links to %s, which does not exist", page.file.src_uri, link[2])
            return link[0]
        kind = "tree" if target.is_dir() else "blob"
        return f"{link[1]}{config['repo_url']}/{kind}/main/{target.relative_to(ROOT).as_posix()}{link[3]}"

    return _LINK.sub(elsewhere, markdown)
