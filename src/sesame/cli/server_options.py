"""The options of every command that talks to a server, and what such a command works with.

Used by the everyday commands (`list`, `show`, `delete`, `publish`, `alias`, `buckets`, `status`).
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import click

from sesame.cli import output, server
from sesame.cli.client import Client
from sesame.cli.options import settle, with_settings

Command = Callable[..., Any]


class Session:
    """One command's server. `as_json`: the result goes to stdout as one JSON document and nothing else does."""

    def __init__(self, chosen: server.Server, *, as_json: bool) -> None:
        self.server = chosen
        self.client = Client(chosen)
        self.as_json = as_json

    def announce(self, what: str) -> None:
        server.announce(self.server, what)

    def pages(self, path: str, key: str) -> Iterator[Any]:
        """Every item of a list of the API, page by page."""
        token = ""
        mark = "&" if "?" in path else "?"
        while True:
            page = self.client.ask("GET", path + (f"{mark}nextToken={quote(token, safe='')}" if token else "")) or {}
            yield from page.get(key) or []
            token = page.get("nextToken") or ""
            if not token:
                return

    def show(self, document: Any, lines: Callable[[], Iterator[str]]) -> None:
        """Prints the document as JSON, or else the lines."""
        if self.as_json:
            output.json_document(document)
            return
        for line in lines():
            output.out.print(output.harmless(line), markup=False)


def at_server(command: Command) -> Command:
    """Gives the command a `Session` as its first argument, chosen as every command chooses its server."""

    @functools.wraps(command)
    def with_session(**options: Any) -> Any:
        settings = settle(options)
        named = server.Named(settings.data_dir, options["data_dir"] is not None, options.pop("endpoint"))
        session = Session(server.choose(named), as_json=options.pop("as_json"))
        for name in ("data_dir", "config"):
            options.pop(name)
        return command(session, **options)

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        click.option("--endpoint", metavar="URL", help="The server [FC_ENDPOINT; default: the data directory's]."),
    ):
        with_session = option(with_session)
    return with_settings("data_dir")(with_session)


def quoted(name: str) -> str:
    return quote(name, safe="")
