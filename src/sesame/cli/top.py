"""`sesame top`: shows calls, cold starts, durations and memory by function, from a running server's metrics.

Reads `/metrics`, so the server must have been started with `--metrics-port`.
"""

import http.client
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sesame.cli import output, server
from sesame.cli.json_option import with_json_lines
from sesame.cli.options import settle, with_settings
from sesame.metrics import reading
from sesame.metrics.reading import FunctionRow, Look, Samples
from sesame.model.errors import ConfigurationError, SesameError
from sesame.model.owner import label

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024
EVERY_S, EVERY_S_MIN = 2.0, 0.1
UNBROKEN_CHARS = 1000


class Unread(SesameError):
    """The metrics could not be read."""


@click.command()
@click.option("--once", is_flag=True, help="Print one table for the time since the server's start.")
@click.option(
    "--every",
    type=click.FloatRange(min=EVERY_S_MIN),
    default=EVERY_S,
    show_default=True,
    help="Seconds between updates.",
)
@click.option("--url", help="URL of the metrics [default: the data directory's server].")
@with_json_lines
@with_settings("data_dir")
def top(once: bool, every: float, url: str | None, as_json: bool, **flags: Any) -> None:
    """Shows calls, errors, cold starts, durations, memory and instances by function, until Ctrl-C."""
    url = _checked(url) if url is not None else _own_url(flags)
    if once:
        _print(reading.look(_read(url)), as_json=as_json)
        return
    terminal = output.out.is_terminal and not as_json
    live: AbstractContextManager[Live | None] = (
        Live(console=output.out, auto_refresh=False, screen=True) if terminal else nullcontext()
    )
    with live as screen:
        for look in _looks(url, every):
            if screen is None:
                _print(look, as_json=as_json)
            else:
                screen.update(_shown(look, url), refresh=True)


def _looks(url: str, every_s: float) -> Iterator[Look]:
    """Yields one result per interval; the first covers the time since the start, so that output appears immediately."""
    before, read_at = _read(url), time.monotonic()
    yield reading.look(before)
    while True:
        time.sleep(every_s)
        now, now_at = _read(url), time.monotonic()
        yield reading.look(now, before, now_at - read_at)
        before, read_at = now, now_at


def _own_url(flags: dict[str, Any]) -> str:
    data_dir = server.directory(settle(flags).data_dir)
    running = data_dir.require_running()
    if not running.metrics:
        raise ConfigurationError(
            f"the Sesame of {data_dir.path} has no metrics: start it with --metrics-port, as `sesame start "
            "--metrics-port 9102`"
        )
    return running.metrics


def _checked(url: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return url
    raise ConfigurationError(f"--url is '{output.harmless(url)}'; expected one such as http://127.0.0.1:9102/metrics")


def _read(url: str) -> Samples:
    # Ignores a proxy in the environment, like every command: it cannot reach a server on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            text = answer.read(ANSWER_BYTES_MAX).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise Unread(f"no metrics came from {url}: {why}; is the server running?") from error
    try:
        return reading.samples_of(text)
    except reading.NoMetrics as error:
        raise Unread(f"{url} does not return metrics of a Sesame: {error}; name another URL with --url") from error


def _print(look: Look, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(look).decode() + "\n")
        sys.stdout.flush()
    else:
        if not output.out.is_terminal:
            # A pipe has no width, so names need not be broken.
            output.out.width = UNBROKEN_CHARS
        output.out.print(_table(look), Text(_standing(look)))


def _shown(look: Look, url: str) -> Group:
    return Group(Text(f"Sesame at {url}"), Text(_standing(look)), Text(), _table(look))


def _table(look: Look) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("FUNCTION", overflow="fold")
    numbers = "CALLS" if look.seconds is None else "CALLS/S"
    for name in (numbers, "ERRORS", "THROTTLED", "COLD", "P50 MS", "P95 MS", "MEMORY MB"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("INSTANCES", no_wrap=True)
    for row in look.functions:
        table.add_row(*map(Text, _cells(row)))
    return table


def _cells(row: FunctionRow) -> Iterator[str]:
    yield output.harmless(label(row.service, row.function))
    yield str(row.calls) if row.calls_per_s is None else f"{row.calls_per_s:.1f}"
    yield str(row.errors)
    yield str(row.throttled)
    yield str(row.cold_starts)
    yield "-" if row.p50_ms is None else f"{row.p50_ms:.1f}"
    yield "-" if row.p95_ms is None else f"{row.p95_ms:.1f}"
    yield f"{row.memory_peak_mb:.1f}"
    yield ", ".join(f"{count} {state}" for state, count in sorted(row.instances.items())) or "-"


def _standing(look: Look) -> str:
    parts = [
        f"{look.calls_in_flight} calls in flight",
        f"instances take {look.memory_reserved_mb} of {look.memory_reserved_max_mb} MB",
    ]
    if look.async_waiting is None:
        parts.append("the database does not answer")
    else:
        parts.append(f"{look.async_waiting} asynchronous invocations wait")
        if look.async_waiting and look.async_oldest_age_s is not None:
            parts[-1] += f", the oldest for {look.async_oldest_age_s:.0f} s"
    if look.log_lag_s is not None:
        parts.append(f"the log is {look.log_lag_s:.1f} s behind")
    return "; ".join(parts)
