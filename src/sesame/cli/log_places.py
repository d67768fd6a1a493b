"""Finds where a function's log lines are: in the built-in store, in its service's logstore, or in both.

Used by `sesame logs`.
"""

import datetime
import http
from typing import Any

from sesame.cli import output, server
from sesame.cli.client import Client, Refused, Unreachable, quoted
from sesame.data_dir import DataDir
from sesame.model.owner import spoken_owner
from sesame.store.logs.logstores.function_lines import FunctionLines
from sesame.store.logs.logstores.history import History
from sesame.store.logs.reader import Lines, LogReader, Query


def reader_of(data_dir: DataDir) -> Lines:
    """Reads the built-in store; the logstores if it does not exist because Sesame keeps no lines in it."""
    if data_dir.logs.exists() or not data_dir.logstores.exists():
        return LogReader(data_dir.logs)
    output.note("The built-in store keeps no lines here (--log-retention-days): these are from the logstores.")
    return FunctionLines(data_dir.logstores)


def reader_of_call(data_dir: DataDir, reader: Lines, request_id: str) -> Lines:
    """Reads the logstores for a call of which the built-in store has no lines any more; otherwise returns `reader`."""
    if isinstance(reader, LogReader) and not reader.read(Query(request_id=request_id, limit=1)):
        elsewhere = FunctionLines(data_dir.logstores)
        if elsewhere.read_on(Query(request_id=request_id, limit=1))[0]:
            return elsewhere
    return reader


def reader_of_function(data_dir: DataDir, reader: Lines, query: Query) -> Lines:
    """Continues with the logstores from the time of the function's first line there, if there is one."""
    if not isinstance(reader, LogReader) or query.service is None or query.function is None:
        return reader
    logstores = FunctionLines(data_dir.logstores)
    begins_s = logstores.begin_s(query.service, query.function)
    if begins_s is None:
        return reader
    since = datetime.datetime.fromtimestamp(begins_s, datetime.UTC).isoformat(timespec="seconds")
    _note(f"From {since.removesuffix('+00:00')}Z on these lines are from the logstore.")
    return History(reader, logstores, begins_s)


def tell_logstore(data_dir: DataDir, reader: Lines, service: str, qualifier: str | None) -> bool:
    """Prints to stderr which logstore has the lines of a service's functions, or why none has.

    Only a server knows whether it may write to the logstore, so a running one is asked. Returns whether the lines are
    in a logstore, as far as that is known.
    """
    spoken = spoken_owner(service)
    named = reader.logstore_of(service) if isinstance(reader, LogReader) else None
    if isinstance(reader, LogReader) and named is None:
        # Also None if the store has no lines of the service any more.
        return all(service != each for each, _function in reader.functions())
    if data_dir.running() is None:
        if named is not None:
            place = f"logstore {named[1]} of project {named[0]}"
            _note(f"What {spoken} writes goes to {place} too; a running Sesame tells whether it may be written there.")
        return True
    try:
        document = _service(data_dir, f"{service}.{qualifier}" if qualifier else service)
    except (Refused, Unreachable) as error:
        if not isinstance(error, Refused) or error.status != http.HTTPStatus.NOT_FOUND:
            _note(f"Which logstore has what {spoken} writes is not known: {error}")
        return True
    return _tell(spoken, document, built_in=named is not None)


def _tell(service: str, document: dict[str, Any], *, built_in: bool) -> bool:
    config, problem = document.get("logConfig") or {}, document.get("logProblem")
    place = f"logstore {config.get('logstore')} of project {config.get('project')}"
    if not config.get("project"):
        if not built_in:
            _note(f"What {service} writes is kept nowhere: its logConfig names no logstore.")
    elif problem:
        _note(f"What {service} writes is not in {place}: {problem}")
    else:
        _note(f"What {service} writes is in {place}{' too' if built_in else ''}.")
        return True
    return False


def _service(data_dir: DataDir, name: str) -> dict[str, Any]:
    chosen = server.choose(server.Named(data_dir.path, data_dir_given=True))
    document: dict[str, Any] = Client(chosen).ask("GET", f"/services/{quoted(name)}")
    return document


def _note(text: str) -> None:
    output.note(output.harmless(text))
