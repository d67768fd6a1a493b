"""`sesame delete`: deletes a service, a function or a trigger.

`--all` is required for a service with functions, versions or aliases, and for a function without a service that has
versions or aliases, so that a mistake deletes only one thing.
"""

from collections.abc import Iterator

import click

from sesame.cli import completing, output
from sesame.cli.client import quoted
from sesame.cli.server_options import Session, at_server
from sesame.cli.versioned import ALONE, SERVICE, versioned
from sesame.model.errors import ConfigurationError

NAME_PARTS_MAX = 3


@click.command()
@click.argument("name", shell_complete=completing.services_and_functions)
@click.option("--all", "everything", is_flag=True, help="Also delete its functions, triggers, versions and aliases.")
@at_server
def delete(session: Session, name: str, everything: bool) -> None:
    """Deletes NAME: a SERVICE, a SERVICE/FUNCTION with its triggers, a SERVICE/FUNCTION/TRIGGER, or a FUNCTION without
    a service, with its triggers.
    """
    parts = name.split("/")
    if len(parts) > NAME_PARTS_MAX or not all(parts):
        raise click.UsageError(f"'{name[:80]}': expected SERVICE, SERVICE/FUNCTION or SERVICE/FUNCTION/TRIGGER")
    session.announce(f"Deleting {name}")
    paths = list(_paths(session, parts, everything=everything))
    for path in paths:
        session.client.ask("DELETE", path)
        if not session.as_json:
            output.out.print(f"- {path.removeprefix('/services/').removeprefix(f'{ALONE}/')}", markup=False)
    if session.as_json:
        session.show({"deleted": paths}, lambda: iter(()))


def _paths(session: Session, parts: list[str], *, everything: bool) -> Iterator[str]:
    """The paths to delete, contents first."""
    service = f"/services/{quoted(parts[0])}"
    if len(parts) == NAME_PARTS_MAX:
        yield f"{service}/functions/{quoted(parts[1])}/triggers/{quoted(parts[2])}"
        return
    if len(parts) == NAME_PARTS_MAX - 1:
        yield from _of_function(session, f"{service}/functions/{quoted(parts[1])}")
        return
    found = versioned(session, parts[0])
    unit = found.path
    functions = [
        each["functionName"]
        for each in (session.client.pages(f"{unit}/functions", "functions") if found.kind == SERVICE else ())
    ]
    aliases = [each["aliasName"] for each in session.client.pages(f"{unit}/aliases", "aliases")]
    versions = [each["versionId"] for each in session.client.pages(f"{unit}/versions", "versions")]
    if (functions or aliases or versions) and not everything:
        have = ", ".join(
            f"{len(found)} {kind}" for kind, found in
            (("functions", functions), ("aliases", aliases), ("versions", versions)) if found
        )  # fmt: skip
        raise ConfigurationError(f"{found.kind} {parts[0]} has {have}: delete them first, or all of it with --all")
    for alias in aliases:
        yield f"{unit}/aliases/{quoted(alias)}"
    for function in functions:
        yield from _of_function(session, f"{unit}/functions/{quoted(function)}")
    for version in versions:
        yield f"{unit}/versions/{quoted(version)}"
    if found.kind == SERVICE:
        yield unit
    else:
        yield from _of_function(session, unit)


def _of_function(session: Session, path: str) -> Iterator[str]:
    for trigger in session.client.pages(f"{path}/triggers", "triggers"):
        yield f"{path}/triggers/{quoted(trigger['triggerName'])}"
    yield path
