"""`sesame build`: installs functions' requirements beside their code, as `sesame deploy` does before deploying.

Also builds for `sesame deploy`. Output goes where the tools for the project's kind put it.
"""

from pathlib import Path
from typing import Any

import click
import msgspec

from sesame.build.builder import Builder, Built
from sesame.build.installer import Installer, default_cache
from sesame.cli import naming, output
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.cli.wanted import wanted
from sesame.deploy import folder, sources
from sesame.deploy.project import Project
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.settings import Settings


@click.command()
@click.argument("source", type=click.Path(path_type=Path), default=Path())
@click.option("-t", "--template", type=click.Path(path_type=Path), help="Template with another file name.")
@click.option("--name", metavar="SERVICE/FUNCTION", help="Function's name, for a folder without a template.")
@click.option("--handler", help="Handler, such as main.my_handler, for a folder without a template [default: found].")
@click.option("--runtime", type=click.Choice(folder.RUNTIMES), help="Runtime [default: the newest installed]")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Parameter of the template.")
@click.option("--fresh", is_flag=True, help="Ignore earlier installations in the cache.")
@with_json
@with_settings("interpreters", "runtimes_dir", "region", "account_id")
def build(source: Path, template: Path | None, fresh: bool, as_json: bool, **options: Any) -> None:
    """Installs the requirements of each function of SOURCE, with its own interpreter, beside a copy of its code.

    SOURCE is as for `sesame deploy`. Earlier installations come from a cache.
    """
    settings = settle(options)
    context = sources.Context(
        account_id=settings.account_id or "",
        region=settings.region,
        parameters=naming.pairs(options["parameters"], "-p"),
        wanted=lambda: wanted(options, settings),
    )
    project = sources.read(template or source, context)
    if project.errors:
        raise ConfigurationError("\n".join(f"{note.place}: {note.text}" for note in project.errors))
    _project, done = build_project(project, settings, fresh=fresh)
    if as_json:
        output.json_document([msgspec.structs.replace(each, folder=each.folder and str(each.folder)) for each in done])
        return
    for each in done:
        said = f"{each.function}: {each.folder or f'nothing to do: {each.reason}'}"
        output.out.print(output.harmless(said), markup=False)


def build_project(project: Project, settings: Settings, *, fresh: bool = False) -> tuple[Project, list[Built]]:
    """Returns the project to deploy, and what was built; prints warnings to stderr immediately."""
    runtimes = tuple({function.runtime for function in project.functions})
    known = Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir(), runtimes)
    installer = Installer(default_cache(), known.found, output.note, fresh=fresh)
    made, done = Builder(project, installer, output.note).build_all()
    for each in done:
        for warning in each.warnings:
            output.note(output.harmless(f"warning: {each.function}: {warning}"))
    return made, done
