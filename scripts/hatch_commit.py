"""Writes the commit that a wheel or a source archive is built from into it, as `sesame/commit.txt`.

Run by hatchling at each build (pyproject.toml). Without git, or outside of a checkout, nothing is written; a source
archive keeps what was written into it.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface):
    PLUGIN_NAME = "commit"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # An editable installation asks git each time: a stamp would be wrong after the next commit.
        if version == "editable":
            return
        # `sesame.cli.version` needs nothing that a build does not have.
        sys.path.insert(0, str(Path(self.root) / "src"))
        from sesame._installed import COMMIT_FILE
        from sesame.cli.version import commit_checked_out

        commit = commit_checked_out(Path(self.root))
        if not commit:
            return
        self._folder = tempfile.TemporaryDirectory()
        stamp = Path(self._folder.name) / COMMIT_FILE
        stamp.write_text(commit + "\n", encoding="ascii")
        package = "sesame" if self.target_name == "wheel" else "src/sesame"
        build_data["force_include"][str(stamp)] = f"{package}/{COMMIT_FILE}"
