"""`sesame new`: starts a project, with a template, a test and a README.

Needs no server. Never overwrites a file.
"""

import shlex
from pathlib import Path

import click
import msgspec

from sesame.cli import output
from sesame.cli.json_option import with_json
from sesame.model import limits
from sesame.sandbox.runtimes.interpreters import discover
from sesame.scaffold import project

OLD = "python2.7"
FALLBACK = "python3.10"


@click.command()
@click.argument("folder", metavar="[NAME]", type=click.Path(path_type=Path), default=Path())
@click.option(
    "-k", "--kind", type=click.Choice(tuple(project.KINDS)), default="event", show_default=True,
    help="What triggers the function: an event, HTTP (Flask), an object in a bucket, or a timer.",
)  # fmt: skip
@click.option(
    "-r", "--runtime", type=click.Choice(limits.SANDBOXED_RUNTIMES), help="Runtime [default: the newest installed]"
)
@with_json
def new(folder: Path, kind: str, runtime: str | None, as_json: bool) -> None:
    """Starts a project in the folder NAME (default: this one): a function with its s.yaml, a test and a README.

    Never overwrites files. The service gets the folder's name.
    """
    made = project.make(project.Wanted(folder, kind, runtime or _newest_here()))
    if as_json:
        output.json_document({**msgspec.structs.asdict(made), "folder": str(made.folder)})
        return
    for name in made.files:
        output.out.print(output.harmless(f"+ {folder / name}"), markup=False)
    change = "" if made.folder == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    output.note(f"{made.service}/{made.function} for {made.runtime}. Next: {change}sesame deploy; see README.md.")


def _newest_here() -> str:
    """POLICY: never 2.7 unless requested; if no interpreter is found, a runtime that every current machine can have."""
    here = [name for name in discover() if name != OLD]
    return here[-1] if here else FALLBACK
