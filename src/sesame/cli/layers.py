"""`sesame layers`: publishes, lists and deletes the layers that functions share.

A layer's versions never change; functions refer to one by its ARN, which `publish` prints.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from sesame.cli.layer_programs import add, from_command
from sesame.cli.layer_publishing import published, versions_from, versions_of
from sesame.cli.layers_of_cloud import get
from sesame.cli.server_options import Session, at_server
from sesame.model import limits


@click.group()
def layers() -> None:
    """Publishes, lists and deletes layers, which several functions share; each finds them below /opt."""


@layers.command()
@click.argument("name")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-r", "--runtime", "runtimes", multiple=True, type=click.Choice(limits.SANDBOXED_RUNTIMES),
    help="A compatible runtime; may be repeated [default: all].",
)  # fmt: skip
@click.option("-d", "--description", default="", help="What it contains.")
@at_server
def publish(session: Session, name: str, source: Path, runtimes: tuple[str, ...], description: str) -> None:
    """Publishes the folder or zip SOURCE as the next version of the layer NAME.

    Python imports modules from its folder `python/`.
    """
    session.announce(f"Publishing the layer {name}")
    published(session, name, source, runtimes or limits.SANDBOXED_RUNTIMES, description)


@layers.command("list")
@click.argument("name", required=False)
@at_server
def list_layers(session: Session, name: str | None) -> None:
    """Lists the newest version of each layer; or all versions of the layer NAME."""
    session.announce("Listing layers")
    found = list(versions_from(session, name) if name is not None else session.client.pages("/layers", "layers"))
    session.show({"layers": found}, lambda: _lines(found))


@layers.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--all", "everything", is_flag=True, help="All versions.")
@at_server
def delete(session: Session, name: str, version: int | None, everything: bool) -> None:
    """Deletes a VERSION of the layer NAME, or all versions. Functions that use one keep it."""
    if (version is None) == (not everything):
        raise click.UsageError("name the VERSION to delete, or give --all")
    session.announce(f"Deleting the layer {name}")
    versions = [each["version"] for each in versions_from(session, name)] if version is None else [version]
    for each in versions:
        session.client.ask("DELETE", f"{versions_of(name)}/{each}")
    session.show(
        {"deleted": [f"{name}/{each}" for each in versions]}, lambda: (f"- {name}/{each}" for each in versions)
    )


def _lines(found: list[Any]) -> Iterator[str]:
    if not found:
        yield "No layers."
    for each in found:
        runtimes = ", ".join(each["compatibleRuntime"])
        yield f"{each['layerName']}  version {each['version']}  {each['codeSize']} bytes  {runtimes}"


layers.add_command(from_command)
layers.add_command(add)
layers.add_command(get)
