"""`sesame status`: shows whether a Sesame runs on the data directory, its addresses, and what it contains.

Exits with 3 if none runs, like the status command of a service.
"""

import datetime
import sys
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from sesame.cli import output, server
from sesame.cli.ending import EXIT_NOT_RUNNING
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.cli.server_options import Session
from sesame.cli.versioned import ALONE
from sesame.model.clocks import SystemClocks


@click.command()
@with_json
@with_settings("data_dir")
def status(as_json: bool, **flags: Any) -> None:
    """Shows whether a Sesame runs on the data directory, since when, its addresses, and what is deployed."""
    settings = settle(flags)
    data_dir = server.directory(settings.data_dir)
    data_dir.refuse_file()
    running = data_dir.running()
    if running is None:
        document: dict[str, Any] = {"running": False, "dataDirectory": str(data_dir.path)}
        if as_json:
            output.json_document(document)
        else:
            output.out.print(f"No Sesame runs on {data_dir.path}.", markup=False)
        sys.exit(EXIT_NOT_RUNNING)
    chosen = server.choose(server.Named(data_dir.path, data_dir_given=True))
    session = Session(chosen, settings, as_json=as_json)
    services = sum(1 for _each in session.client.pages("/services", "services"))
    # Counts functions of services, and functions without a service.
    functions = sum(1 for _each in session.client.pages(ALONE, "functions"))
    document = {
        "running": True,
        "dataDirectory": str(data_dir.path),
        **msgspec.to_builtins(running),
        "services": services,
        "functions": functions,
    }
    session.show(document, lambda: _lines(document))


def _lines(document: dict[str, Any]) -> Iterator[str]:
    up_s = int(SystemClocks().wall() - document["started_at"])
    yield f"running   process {document['pid']}, for {datetime.timedelta(seconds=up_s)}, sandbox {document['sandbox']}"
    if document.get("version"):
        yield f"version   {document['version']}"
    yield f"data      {document['dataDirectory']}"
    yield f"account   {document['account_id']} in {document['region']}"
    for name in ("fc", "fc_https", "oss", "sls", "sts", "metrics"):
        if document.get(name):
            yield f"{name:<9} {document[name]}"
    yield f"deployed  {document['services']} services, {document['functions']} functions"
