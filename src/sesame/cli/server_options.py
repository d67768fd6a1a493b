"""The options of commands that talk to a server, and the session that such a command uses.

Used by every command that asks a server and prints its answer.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import click

from sesame.cli import output, server
from sesame.cli.client import Client
from sesame.cli.json_option import with_json
from sesame.cli.options import CONFIG_OPTION, settle, with_settings
from sesame.settings import Settings

Command = Callable[..., Any]


class Session:
    """A command's server and output. With `as_json`, stdout gets only the result, as one JSON document."""

    def __init__(self, chosen: server.Server, settings: Settings, *, as_json: bool) -> None:
        self.server = chosen
        self.settings = settings
        self.client = Client(chosen)
        self.as_json = as_json

    def announce(self, what: str) -> None:
        server.announce(self.server, what)

    def show(self, document: Any, lines: Callable[[], Iterator[str]]) -> None:
        """Prints the document as JSON, or `lines` otherwise."""
        if self.as_json:
            output.json_document(document)
            return
        for line in lines():
            output.out.print(output.harmless(line), markup=False)


def at_server_with(*settings_names: str) -> Callable[[Command], Command]:
    """Passes a `Session` to the command as its first argument, selected as for every command.

    Adds an option for each named setting; `Session.settings` has their values.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_session(**options: Any) -> Any:
            settings = settle(options)
            named = server.Named(settings.data_dir, options["data_dir"] is not None, options.pop("endpoint"))
            session = Session(server.choose(named), settings, as_json=options.pop("as_json"))
            for name in ("data_dir", *settings_names, CONFIG_OPTION):
                options.pop(name)
            return command(session, **options)

        for option in (
            with_json,
            click.option("--endpoint", metavar="URL", help="The server [FC_ENDPOINT; default: the data directory's]."),
        ):
            with_session = option(with_session)
        return with_settings("data_dir", *settings_names)(with_session)

    return decorate


at_server = at_server_with()
