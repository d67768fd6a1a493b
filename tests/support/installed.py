"""A Sesame whose version changes while it runs: what `sesame upgrade` finds installed is another one.

`INSTALLED` is run with `python -c` and takes its version from the file at the path `version`; an `Installed` is a copy
of the whole package.
"""

import os
import shutil
import sys
from pathlib import Path

import sesame
from sesame.store.sql.migrate import newest_migration

INSTALLED = """
import pathlib, sesame
sesame.__version__ = pathlib.Path("{version}").read_text()
from sesame.cli.main import main
main()
"""


class Installed:
    """A copy of the package in a `folder` that stands in PYTHONPATH: another version takes its place, as by pip.

    Processes that run keep what they have loaded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._package = folder / "sesame"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(sesame.__file__).parent, self._package, ignore=ignored)

    def becomes(self, version: str) -> None:
        (self._package / "__init__.py").write_text(f'__version__ = "{version}"\n')

    def is_built_anew(self) -> None:
        with (self._package / "_installed.py").open("a") as file:
            file.write("# Built anew.\n")

    def brings_a_migration(self, revision: str, table: str) -> None:
        text = f'revision, down_revision = "{revision}", "{newest_migration()}"\nbranch_labels = depends_on = None\n'
        text += "import sqlalchemy as sa\nfrom alembic import op\n"
        text += (
            f'def upgrade():\n    op.create_table("{table}", sa.Column("number", sa.BigInteger, primary_key=True))\n'
        )
        (self._package / "store/sql/migrations/versions" / f"v{revision}_{table}.py").write_text(text)

    def forgets_bytecode(self) -> None:
        """That of the copy, which `rays.Ray` keeps with that of all else."""
        kept = Path(os.environ.get("PYTHONPYCACHEPREFIX", str(Path(sys.prefix) / "bytecode")))
        shutil.rmtree(kept / self.folder.relative_to("/"), ignore_errors=True)
