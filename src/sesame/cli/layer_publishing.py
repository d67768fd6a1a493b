"""Publishes a folder or zip as the next version of a layer.

Used by `cli.layers` and `cli.layer_programs`.
"""

import base64
from collections.abc import Sequence
from pathlib import Path

from sesame.cli.client import quoted
from sesame.cli.server_options import Session


def published(session: Session, name: str, source: Path, runtimes: Sequence[str], description: str) -> None:
    """Publishes a folder or zip, and shows the version."""
    sent = {
        "code": {"zipFile": base64.b64encode(_packed(source)).decode()},
        "compatibleRuntime": list(runtimes),
        "description": description,
    }
    made = session.client.ask("POST", versions_of(name), sent)
    session.show(made, lambda: iter([f"{name}  version {made['version']}  {made['arn']}"]))


def versions_of(name: str) -> str:
    return f"/layers/{quoted(name)}/versions"


def _packed(source: Path) -> bytes:
    # Needed for this command alone.
    from sesame.deploy.archive import packed
    from sesame.deploy.project import Code

    return packed(Code(path=source.resolve()))
