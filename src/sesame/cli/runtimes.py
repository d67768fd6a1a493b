"""`sesame runtimes`: which runtimes can run here, with which interpreter and packages, and how to get the rest.

`sesame runtimes install` installs the packages that come with each runtime; may be repeated.
Never installs an interpreter.
"""

from typing import Any

import click

from sesame.cli import output
from sesame.cli.options import settle, with_settings
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes import interpreters
from sesame.sandbox.runtimes.lookup import Runtimes


@click.group(invoke_without_command=True)
@with_settings("interpreters", "runtimes_dir")
@click.option("--missing", is_flag=True, help="Print only the names of runtimes without their own interpreter.")
@click.pass_context
def runtimes(context: click.Context, /, missing: bool, **flags: Any) -> None:
    """Lists the runtimes and what runs them here."""
    settings = settle(flags)
    known = Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir())
    context.obj = known
    if context.invoked_subcommand is not None:
        return
    if missing:
        for runtime in known.missing():
            click.echo(runtime)
        return
    rows = [("runtime", "version", "packages", "interpreter")]
    for runtime in known.known():
        interpreter = known.found.get(runtime)
        if interpreter is None:
            rows.append((runtime, "none", "", f"get it: {interpreters.how_to_get(runtime)}"))
            continue
        version, path = interpreter.version, str(interpreter.path)
        if interpreter.notice:
            version += f" in place of {interpreter.substitute_for}"
            path += f" (get its own: {interpreters.how_to_get(runtime)})"
        manifest = known.packages.manifest(runtime)
        packages = f"{len(manifest.packages)} installed" if manifest else "not installed"
        rows.append((runtime, version, packages, path))
    for line in output.aligned(rows):
        click.echo(line)
    if any(known.packages.manifest(runtime) is None for runtime in known.found):
        output.note(f"To install the packages: {output.own_name()} runtimes install")


@runtimes.command()
@click.argument("names", nargs=-1, metavar="[RUNTIME]…")
@click.pass_context
def install(context: click.Context, names: tuple[str, ...]) -> None:
    """Installs the packages that the cloud ships with each runtime (all that have an interpreter by default)."""
    known: Runtimes = context.obj
    for name in names:
        if name not in known.found:
            raise ConfigurationError(
                f"{name} has no interpreter here; get it: {interpreters.how_to_get(name)}"
                if name in known.known()
                else f"there is no runtime '{name}'; expected one of {', '.join(known.known())}"
            )
    if not known.found:
        raise ConfigurationError("no interpreter was found for any runtime; `sesame runtimes` says how to get one")
    known.packages.install_all(names or tuple(known.found), output.note)
    for name in known.missing():
        if not names:
            output.note(f"{name}: its own interpreter was not found; get it: {interpreters.how_to_get(name)}")
