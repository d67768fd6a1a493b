"""Publishes a folder or zip as the next version of a layer.

Used by `cli.layers` and the modules that add commands to it.
"""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sesame.cli.client import quoted
from sesame.cli.server_options import Session
from sesame.model import limits


def make_version(session: Session, name: str, source: Path, runtimes: Sequence[str], description: str) -> Any:
    """Publishes a folder or zip; returns the version in the API's form."""
    sent = {
        "code": {"zipFile": base64.b64encode(_packed(source)).decode()},
        "compatibleRuntime": list(runtimes),
        "description": description[: limits.DESCRIPTION_CHARS],
    }
    return session.client.ask("POST", versions_of(name), sent)


def published(session: Session, name: str, source: Path, runtimes: Sequence[str], description: str) -> None:
    """Publishes a folder or zip, and prints the version."""
    made = make_version(session, name, source, runtimes, description)
    session.show(made, lambda: iter([f"{name}  version {made['version']}  {made['arn']}"]))


def versions_of(name: str) -> str:
    return f"/layers/{quoted(name)}/versions"


def versions_from(session: Session, name: str) -> Iterator[Any]:
    """Yields every version of a layer; the API's pages continue after a number instead of a token."""
    start = 1
    while True:
        page = session.client.ask("GET", f"{versions_of(name)}?startVersion={start}")
        yield from page["layers"]
        start = page.get("nextVersion") or 0
        if not start:
            return


def _packed(source: Path) -> bytes:
    # Imported late: only this command needs it.
    from sesame.deploy.archive import packed
    from sesame.deploy.project import Code

    return packed(Code(path=source.resolve()))
