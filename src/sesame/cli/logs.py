"""`sesame logs`: prints a function's log lines with time and request id, all or those matching a search; or runs SQL.

Reads the data directory's files, so it works whether or not Sesame runs. Changes nothing.
"""

import collections
import datetime
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from sesame.cli import completing, output, server
from sesame.cli.json_option import with_json_lines
from sesame.cli.log_places import reader_of, reader_of_call, reader_of_function, tell_logstore
from sesame.cli.options import settle, with_settings
from sesame.data_dir import DataDir
from sesame.model.errors import ConfigurationError
from sesame.model.owner import label, service_of
from sesame.settings import TABLE
from sesame.store.logs.logstores.function_lines import FunctionLines
from sesame.store.logs.query.refusals import QueryRefused
from sesame.store.logs.reader import Lines, LogLine, LogReader, Query

FOLLOW_EVERY_S = 0.2
NAMED_AT_MOST = 20
LINES_MAX = 10_000_000
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

# Formats a line for printing.
Form = Callable[[LogLine], str]
# Selects from the lines that were read.
Pick = Callable[[Sequence[LogLine]], Sequence[LogLine]]

_AGO = re.compile(r"([0-9]{1,9})([smhd])")


@click.command()
@click.argument(
    "function", metavar="[[SERVICE/]FUNCTION[:QUALIFIER]]", required=False, shell_complete=completing.functions
)
@click.option("-f", "--follow", is_flag=True, help="Also print new lines as they arrive, until Ctrl-C.")
@click.option("-r", "--request-id", metavar="ID", help="Only the lines of this call.")
@click.option("--since", metavar="WHEN", help="Only lines since this time: 30s, 10m, 2h, 3d ago, or an ISO time (UTC).")
@click.option("--until", metavar="WHEN", help="Only lines before this time, in the form of --since.")
@click.option("-n", "--lines", metavar="N", type=click.IntRange(0, LINES_MAX), help="Only the last N of these lines.")
@click.option("--search", metavar="QUERY", help="Only lines that match this search, in the Log Service's syntax.")
@click.option("--sql", metavar="SELECT", help="Print the results of this SQL query; the lines are the table log.")
@with_json_lines
@with_settings("data_dir")
def logs(
    function: str | None,
    follow: bool,
    request_id: str | None,
    since: str | None,
    until: str | None,
    lines: int | None,
    search: str | None,
    sql: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Prints the output of FUNCTION: time, request id, line. With -r, the call determines the function."""
    if function is None and request_id is None:
        raise click.UsageError("name a function, as demo/hello or demo/hello:prod, or a call by its request id with -r")
    if sql is not None and (follow or lines is not None):
        raise click.UsageError(f"--sql queries existing lines: leave out {'--follow' if follow else '--lines'}")
    if until is not None and follow:
        raise click.UsageError("--follow goes on: leave out --until")
    if request_id == "":
        raise click.UsageError("--request-id '' names no call")
    data_dir = _data_dir(settle(flags).data_dir, by_flag=flags["data_dir"] is not None)
    output.note(f"Logs of {data_dir.path}.")
    if (running := data_dir.running()) is not None and running.of_cluster and not data_dir.is_written():
        output.note("This node of a cluster does not lead: it has lines up to when it did. The one that leads has all.")
    reader = reader_of(data_dir)
    now = time.time()
    since_s = since_time(since, now) if since is not None else None
    query = Query(
        request_id=request_id, since=since_s, until=time_of(until, now, "--until") if until is not None else None
    )
    if function is not None:
        named, written = _named(data_dir, reader, function, follow=follow)
        query = msgspec.structs.replace(query, **named)
        if written:
            reader = reader_of_function(data_dir, reader, query)
    elif request_id is not None and not follow:
        reader = reader_of_call(data_dir, reader, request_id)
    form = json_line_of if as_json else shown_line
    try:
        if sql is not None:
            _print_table(reader, query, f"{search or '*'} | {sql}", as_json=as_json)
            return
        pick = _all if search is None else _matching(search)
        if lines is None:
            found, last = print_all(reader, query, form, pick)
        else:
            found, last = print_last(reader, query, lines, form, pick)
        if follow:
            print_on(reader, query, last, form, pick)
    except KeyboardInterrupt:
        return
    except QueryRefused as error:
        raise ConfigurationError(f"--{'search' if error.part == 'search' else 'sql'}: {error.message}") from error
    if not found:
        output.note(f"No lines of {function or request_id} match.")


def _all(lines: Sequence[LogLine]) -> Sequence[LogLine]:
    return lines


def _matching(search: str) -> Pick:
    # Imported late: DuckDB and sqlglot take a second, and only a query needs them.
    from sesame.store.logs.line_queries import Matching

    return Matching(search, time.time()).of


def _print_table(reader: Lines, query: Query, text: str, *, as_json: bool) -> None:
    from sesame.store.logs.line_queries import select

    table = select(reader, query, text, time.time())
    if as_json:
        objects = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
        _write(msgspec.json.encode(each).decode() for each in objects)
        return
    shown = output.harmless if sys.stdout.isatty() else str
    _write(map(shown, output.aligned([table.columns, *table.rows])))


def _named(data_dir: DataDir, reader: Lines, function: str, *, follow: bool) -> tuple[dict[str, str | None], bool]:
    """The query's fields for `service/function[:qualifier]`, or `service.qualifier/function` as in the API's paths.

    Also returns whether its lines are in a logstore, as far as that is known.
    """
    written = True
    path, slash, name = function.rpartition("/")
    service, _dot, qualifier = path.partition(".")
    name, _colon, after = name.partition(":")
    qualifier = after or qualifier
    if service and "/" not in path:
        # Comes first, since it may explain why there are no lines.
        written = tell_logstore(data_dir, reader, service, qualifier)
    elsewhere = FunctionLines(data_dir.logstores) if isinstance(reader, LogReader) else None
    wanted = function if "/" in path else f"{service}{slash}{name}"
    known, name = find(reader, wanted, elsewhere, follow=follow)
    if known and not service:
        written = tell_logstore(data_dir, reader, known, qualifier)
    return {"service": known, "function": name, "qualifier": qualifier or None}, written


def _data_dir(path: Path, *, by_flag: bool) -> DataDir:
    """The directory whose logs are read. Raises `ConfigurationError` if the environment names another server.

    Logs are read from files instead of a server, so `FC_ENDPOINT` alone cannot select them.
    """
    data_dir = DataDir(path) if by_flag else server.directory(path)
    data_dir.refuse_file()
    named = None if by_flag else server.named_endpoint()
    if named is None:
        return data_dir
    running = data_dir.running()
    if server.is_at(running, named[0]) if running else os.environ.get(TABLE["data_dir"].environment):
        return data_dir
    found = f"the Sesame of {data_dir.path} is at {running.fc}" if running else f"no Sesame runs on {data_dir.path}"
    raise ConfigurationError(
        f"{named[1]} is {named[0]}, but {found}: name the data directory of the server that is meant with --data-dir"
    )


def find(reader: Lines, wanted: str, elsewhere: Lines | None = None, *, follow: bool) -> tuple[str | None, str]:
    """Finds the service and the function named by `wanted`; no service if the function has no lines yet.

    Searches `elsewhere` if the reader has none of its lines. Raises `ConfigurationError` for a function without lines,
    unless `follow`, and for a name used in several services.
    """
    service, slash, name = wanted.rpartition("/")
    if not name or "/" in service or (slash and not service):
        raise ConfigurationError(f"'{wanted}' names no function: expected FUNCTION or SERVICE/FUNCTION")
    known = reader.functions()
    matching = _named_so(known, service, name)
    if not matching and elsewhere is not None:
        known = sorted({*known, *elsewhere.functions()})
        matching = _named_so(known, service, name)
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ConfigurationError(f"several services have a function '{name}': name one of {names_of(matching)}")
    has = f"there are logs of {names_of(known)}" if known else "no function has any"
    has += f" in {reader.folder}"
    if not follow:
        raise ConfigurationError(f"there are no logs of '{wanted}': {has}; name another data directory with --data-dir")
    output.note(f"There are no logs of '{wanted}' yet: {has}; waiting …")
    return service or None, name


def _named_so(known: Sequence[tuple[str, str]], service: str, name: str) -> list[tuple[str, str]]:
    return [pair for pair in known if pair[1] == name and service in ("", pair[0])]


def since_time(text: str, now: float) -> float:
    """Like `time_of`, for a time in the past."""
    when = time_of(text, now, "--since")
    if when > now:
        raise ConfigurationError(f"--since '{text}' is in the future")
    return when


def time_of(text: str, now: float, option: str) -> float:
    """Parses a time such as `10m` ago, or an ISO time, by default in UTC; returns Unix seconds."""
    if ago := _AGO.fullmatch(text):
        return max(now - int(ago[1]) * UNITS_S[ago[2]], 0.0)
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{option} '{text}' is no time: expected a number with s, m, h or d, such as 10m, or an ISO time, such as "
            "2024-05-01T12:30:00Z"
        ) from error
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return when.timestamp()


def print_all(reader: Lines, query: Query, form: Form | None = None, pick: Pick = _all) -> tuple[int, int]:
    """Prints every matching line, page by page; returns how many, and the id after which to continue."""
    count, last = 0, query.after_id
    while True:
        lines, last = reader.read_on(msgspec.structs.replace(query, after_id=last))
        picked = pick(lines)
        _write(map(form or shown_line, picked))
        count += len(picked)
        if len(lines) < query.limit:
            return count, last


def print_last(reader: Lines, query: Query, most: int, form: Form, pick: Pick) -> tuple[int, int]:
    """Like `print_all`, but reads all and prints only the last lines; returns the number of all."""
    count, last = 0, query.after_id
    kept: collections.deque[LogLine] = collections.deque(maxlen=most)
    while True:
        lines, last = reader.read_on(msgspec.structs.replace(query, after_id=last))
        picked = pick(lines)
        kept.extend(picked)
        count += len(picked)
        if len(lines) < query.limit:
            _write(map(form, kept))
            return count, last


def print_on(
    reader: Lines,
    query: Query,
    last: int,
    form: Form | None = None,
    pick: Pick = _all,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Prints new lines as they arrive, until an exception ends it."""
    while True:
        wait(FOLLOW_EVERY_S)
        _count, last = print_all(reader, msgspec.structs.replace(query, after_id=last), form, pick)


def line_of(line: LogLine, *, terminal: bool) -> str:
    """Formats a line. On a terminal, control characters are escaped, so that they have no effect."""
    text = output.harmless(line.text) if terminal else line.text
    return f"{_time_of(line)} {line.request_id or '-'} {text}"


def shown_line(line: LogLine) -> str:
    """Formats a line for the current standard output."""
    return line_of(line, terminal=sys.stdout.isatty())


def json_line_of(line: LogLine) -> str:
    """Formats a line as one JSON object. Lines without request, function version or qualifier have "" for these."""
    told = {
        "time": _time_of(line),
        "requestId": line.request_id,
        "serviceName": service_of(line.service),
        "functionName": line.function,
        "qualifier": line.qualifier,
        "versionId": line.version_id,
        "instanceId": line.instance_id,
        "message": line.text.encode("utf-8", "replace").decode(),
    }
    return msgspec.json.encode(told).decode()


def _time_of(line: LogLine) -> str:
    when = datetime.datetime.fromtimestamp(line.time, datetime.UTC).isoformat(timespec="milliseconds")
    return f"{when.removesuffix('+00:00')}Z"


def _write(lines: Iterable[str]) -> None:
    text = "".join(line + "\n" for line in lines)
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def names_of(pairs: list[tuple[str, str]]) -> str:
    shown = ", ".join(label(service, function) for service, function in pairs[:NAMED_AT_MOST])
    more = len(pairs) - NAMED_AT_MOST
    return f"{shown} and {more} more" if more > 0 else shown
