"""Where lines of functions lie: in the built-in store, in the logstore that their service names, or in both.

Used by `sesame logs`.
"""

import http
from typing import Any

from sesame.cli import output, server
from sesame.cli.client import Client, Refused, Unreachable, quoted
from sesame.data_dir import DataDir
from sesame.store.logs.logstores.function_lines import FunctionLines
from sesame.store.logs.reader import Lines, LogReader


def reader_of(data_dir: DataDir) -> Lines:
    """Of the built-in store; of the logstores where that is not there, because a Sesame keeps nothing in it."""
    if data_dir.logs.exists() or not data_dir.logstores.exists():
        return LogReader(data_dir.logs)
    output.note("The built-in store keeps no lines here: these are from the logstores.")
    return FunctionLines(data_dir.logstores)


def tell_logstore(data_dir: DataDir, reader: Lines, service: str, qualifier: str | None) -> None:
    """Says on stderr in which logstore the lines of a service's functions are, or why they are in none.

    Whether they may be written there only a server knows; it is asked if one runs.
    """
    built_in = isinstance(reader, LogReader)
    named = reader.logstore_of(service) if isinstance(reader, LogReader) else None
    if built_in and named is None:
        return
    if data_dir.running() is None:
        if named is not None:
            place = f"logstore {named[1]} of project {named[0]}"
            _note(f"What {service} writes goes to {place} too; a running Sesame tells whether it may be written there.")
        return
    try:
        document = _service(data_dir, f"{service}.{qualifier}" if qualifier else service)
    except (Refused, Unreachable) as error:
        if not isinstance(error, Refused) or error.status != http.HTTPStatus.NOT_FOUND:
            _note(f"Which logstore has what {service} writes is not known: {error}")
        return
    config, problem = document.get("logConfig") or {}, document.get("logProblem")
    place = f"logstore {config.get('logstore')} of project {config.get('project')}"
    if not config.get("project"):
        if not built_in:
            _note(f"What {service} writes is kept nowhere: its logConfig names no logstore.")
    elif problem:
        _note(f"What {service} writes is not in {place}: {problem}")
    else:
        _note(f"What {service} writes is in {place}{' too' if built_in else ''}.")


def _service(data_dir: DataDir, name: str) -> dict[str, Any]:
    chosen = server.choose(server.Named(data_dir.path, data_dir_given=True))
    document: dict[str, Any] = Client(chosen).ask("GET", f"/services/{quoted(name)}")
    return document


def _note(text: str) -> None:
    output.note(output.harmless(text))
