"""`sesame publish` and `sesame alias`: versions, and the aliases that point to them.

They belong to a service, or to a function without one (FC 3.0).
"""

from typing import Any

import click

from sesame.cli import completing
from sesame.cli.client import quoted
from sesame.cli.server_options import Session, at_server
from sesame.cli.versioned import versioned

WEIGHT_MAX = 1.0


@click.command()
@click.argument("service", shell_complete=completing.services_and_alone)
@click.option("-d", "--description", default="", help="What is new in this version.")
@at_server
def publish(session: Session, service: str, description: str) -> None:
    """Publishes SERVICE, or a function without one, as it is now as its next version, which never changes."""
    session.announce(f"Publishing {service}")
    made = session.client.ask("POST", f"{versioned(session, service).path}/versions", {"description": description})
    session.show(made, lambda: iter([f"{service} version {made['versionId']}"]))


@click.group()
def alias() -> None:
    """Lists, sets and deletes aliases of versions: call a function as SERVICE/FUNCTION:ALIAS, or FUNCTION:ALIAS."""


@alias.command("list")
@click.argument("service", shell_complete=completing.services_and_alone)
@at_server
def list_aliases(session: Session, service: str) -> None:
    """Lists one alias per line, with its version and the weights of others."""
    session.announce(f"Listing aliases of {service}")
    found = list(session.client.pages(f"{versioned(session, service).path}/aliases", "aliases"))
    session.show({"aliases": found}, lambda: map(_line, found))


@alias.command("set")
@click.argument("service", shell_complete=completing.services_and_alone)
@click.argument("name")
@click.argument("version")
@click.option(
    "-w", "--weight", "weights", multiple=True, metavar="VERSION=SHARE", help="A canary: 2=0.1 sends a tenth to 2."
)
@click.option("-d", "--description", default=None)
@at_server
def set_alias(
    session: Session, service: str, name: str, version: str, weights: tuple[str, ...], description: str | None
) -> None:
    """Points the alias NAME of SERVICE at VERSION; creates it if it does not exist."""
    session.announce(f"Setting alias {name} of {service}")
    path = f"{versioned(session, service).path}/aliases"
    document: dict[str, Any] = {"versionId": version, "additionalVersionWeight": dict(map(_share, weights))}
    if description is not None:
        document["description"] = description
    present = [each["aliasName"] for each in session.client.pages(path, "aliases")]
    if name in present:
        made = session.client.ask("PUT", f"{path}/{quoted(name)}", document)
    else:
        made = session.client.ask("POST", path, {"aliasName": name, **document})
    session.show(made, lambda: iter([_line(made)]))


@alias.command("delete")
@click.argument("service", shell_complete=completing.services_and_alone)
@click.argument("name")
@at_server
def delete_alias(session: Session, service: str, name: str) -> None:
    """Deletes an alias; its version stays."""
    session.announce(f"Deleting alias {name} of {service}")
    session.client.ask("DELETE", f"{versioned(session, service).path}/aliases/{quoted(name)}")
    session.show({"deleted": name}, lambda: iter([f"- {service}:{name}"]))


def _line(alias: dict[str, Any]) -> str:
    shares = ", ".join(
        f"{version} {share:.0%}" for version, share in (alias.get("additionalVersionWeight") or {}).items()
    )
    return f"{alias['aliasName']}  version {alias['versionId']}{f' ({shares})' if shares else ''}"


def _share(text: str) -> tuple[str, float]:
    version, equals, share = text.partition("=")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not (version and equals and 0 <= value <= WEIGHT_MAX):
        raise click.UsageError(f"--weight {text[:40]}: expected VERSION=SHARE with a share from 0 to 1, as 2=0.1")
    return version, value
