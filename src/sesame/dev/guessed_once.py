"""Reads a project repeatedly; keeps the last guess for a folder without a template while its files are broken.

Used by `cli.dev`. In the middle of an edit, a source may lack a recognizable handler or look like Python 2.
"""

from pathlib import Path

import msgspec

from sesame.deploy import sources
from sesame.deploy.folder import Wanted
from sesame.deploy.project import Project, TemplateError


class GuessedOnce:
    def __init__(self, source: Path, context: sources.Context, wanted: Wanted) -> None:
        self._source = source
        self._context = context
        self._wanted = wanted
        # The last guess for a folder without a template.
        self._last: Wanted | None = None

    def read(self) -> Project:
        """Raises `TemplateError`."""
        last = self._last
        first = self._wanted if last is None else msgspec.structs.replace(self._wanted, runtime=last.runtime)
        try:
            return self._read(first)
        except TemplateError:
            if last is None or self._last is None:
                raise
            return self._read(last)

    def _read(self, wanted: Wanted) -> Project:
        guessed = False

        def take() -> Wanted:
            nonlocal guessed
            guessed = True
            return wanted

        try:
            project = sources.read(self._source, msgspec.structs.replace(self._context, wanted=take))
        finally:
            if not guessed:
                # There is a template now; if it is removed, the folder is guessed afresh.
                self._last = None
        if guessed:
            fields = project.functions[0].fields
            self._last = msgspec.structs.replace(
                self._wanted, handler=fields["handler"], runtime=fields["runtime"], http=bool(project.triggers)
            )
        return project
