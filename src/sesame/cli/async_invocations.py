"""`sesame async`: lists, shows, stops and replays asynchronous invocations of a running Sesame.

Asks the server over its API, as any client: signed with the account's key, or with the one in the environment.
"""

import datetime
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

import click
import msgspec

from sesame.cli import output, server
from sesame.cli.client import Client
from sesame.cli.options import settle, with_settings
from sesame.model.async_invocation import State

LIST_PATH = "/sesame/async-invocations"
LETTERS_PATH = "/sesame/dead-letters"
PAGE = 100
DEFAULT_LATEST = "LATEST"
NAME = "SERVICE[.QUALIFIER]/FUNCTION/ID"


# How the commands name dead letters, before their numbers.
LETTER = "dead-letter"


class Named(msgspec.Struct, frozen=True):
    """An invocation as `sesame async list` names it."""

    service: str
    function: str
    invocation_id: str

    @property
    def path(self) -> str:
        parts = (quote(part, safe="") for part in (self.service, self.function, self.invocation_id))
        return "/sesame/services/{}/functions/{}/async-invocations/{}".format(*parts)


def _with_server(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say which server is meant, and `--json`."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")(command)
    endpoint = click.option(
        "--endpoint",
        metavar="URL",
        help="Address of the server [FC_ENDPOINT; default: the server of the data directory].",
    )
    return endpoint(with_settings("data_dir")(command))


@click.group("async")
def async_() -> None:
    """Lists, shows, stops and replays asynchronous invocations."""


@async_.command("list")
@click.argument("function", metavar="[SERVICE[.QUALIFIER]/FUNCTION]", required=False)
@click.option("--status", type=click.Choice([state.value for state in State], case_sensitive=False))
@click.option("--prefix", default="", metavar="TEXT", help="Only invocations whose ids begin so.")
@click.option("--dead-letters", is_flag=True, help="List records that could not be delivered to their destinations.")
@click.option("-n", "--number", type=click.IntRange(1), default=20, show_default=True, help="How many at most.")
@_with_server
def list_invocations(
    function: str | None, status: str | None, prefix: str, dead_letters: bool, number: int, as_json: bool, **flags: Any
) -> None:
    """Lists the invocations of FUNCTION, or of all functions.

    The newest come first. Each line ends with the name that the other commands take.
    """
    if dead_letters:
        if function is not None or status is not None or prefix:
            raise click.UsageError("dead letters are listed all: leave the function, --status and --prefix away")
        _list_letters(_client(flags), number, as_json=as_json)
        return
    query = {"status": status or "", "invocationIdPrefix": prefix}
    if function is not None:
        query["service"], slash, query["function"] = function.partition("/")
        if not (slash and query["service"] and query["function"]) or "/" in query["function"]:
            raise click.UsageError(f"'{function}' names no function: expected SERVICE/FUNCTION")
    found = list(islice(_all(_client(flags), LIST_PATH, "invocations", {**query, "limit": _limit(number)}), number))
    if as_json:
        _print_json(found)
        return
    rows: list[tuple[str, ...]] = [("status", "accepted", "took", "retries", "source", "invocation")]
    rows += [_row(each) for each in found]
    for line in aligned(rows):
        click.echo(output.harmless(line))
    if not found:
        output.note("No invocations match.")


@async_.command()
@click.argument("name", metavar=f"{NAME}|{LETTER}/NUMBER")
@_with_server
def show(name: str, as_json: bool, **flags: Any) -> None:
    """Shows one invocation, or one dead letter.

    Of an invocation its state, its event, what it returned, and what happened to it when.
    """
    letter = letter_path(name)
    found = _client(flags).ask("GET", letter or named(name).path)
    if as_json:
        _print_json(found)
        return
    if letter:
        _show_letter(found)
        return
    for label, value in _described(found):
        click.echo(output.harmless(f"{label:<12} {value}"))
    for event in found["invocation"]["events"]:
        detail = f"  {event['eventDetail']}" if event["eventDetail"] else ""
        click.echo(output.harmless(f"{'':<12} {_time(event['timestamp'])} {event['status']}{detail}"))


@async_.command()
@click.argument("name", metavar=NAME)
@_with_server
def stop(name: str, as_json: bool, **flags: Any) -> None:
    """Stops an invocation.

    A queued one never starts; of a running one the instance is killed.
    """
    wanted, client = named(name), _client(flags)
    client.ask("PUT", wanted.path)
    found = client.ask("GET", wanted.path)
    if as_json:
        _print_json(found)
    else:
        click.echo(found["invocation"]["status"])


@async_.command()
@click.argument("name", metavar=f"{NAME}|{LETTER}/NUMBER")
@_with_server
def replay(name: str, as_json: bool, **flags: Any) -> None:
    """Runs an invocation once more, or delivers a dead letter anew.

    The event of an invocation that has ended is accepted as a new invocation, whose name is printed.
    """
    if letter := letter_path(name):
        _client(flags).ask("POST", f"{letter}/replay")
        output.note("The record is delivered anew.")
        return
    wanted = named(name)
    made = _client(flags).ask("POST", f"{wanted.path}/replay")
    if as_json:
        _print_json(made)
    else:
        click.echo(output.harmless(f"{wanted.service}/{wanted.function}/{made['invocationId']}"))


def letter_path(name: str) -> str:
    """The path of a dead letter, "" for a name that is none."""
    kind, _slash, number = name.partition("/")
    return f"{LETTERS_PATH}/{quote(number, safe='')}" if kind == LETTER and number and "/" not in number else ""


def named(name: str) -> Named:
    """Raises `UsageError` for what is no name of an invocation."""
    parts = name.split("/")
    if len(parts) != 3 or not all(parts):
        raise click.UsageError(f"'{name}' names no invocation: expected {NAME}, as `sesame async list` prints it")
    return Named(*parts)


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Columns that also a pipe or a narrow terminal gets unbroken."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _client(flags: dict[str, Any]) -> Client:
    given = flags["data_dir"] is not None
    chosen = server.choose(server.Named(settle(flags).data_dir, given, flags["endpoint"]))
    server.announce(chosen, "Asynchronous invocations")
    return Client(chosen)


def _list_letters(client: Client, number: int, *, as_json: bool) -> None:
    found = list(islice(_all(client, LETTERS_PATH, "deadLetters", {"limit": _limit(number)}), number))
    if as_json:
        _print_json(found)
        return
    rows: list[tuple[str, ...]] = [("given up", "attempts", "condition", "destination", "dead letter")]
    for each in found:
        name = f"{LETTER}/{each['deadLetter']}"
        rows.append((_time(each["buriedTime"]), str(each["attempts"]), each["condition"], each["destination"], name))
    for line in aligned(rows):
        click.echo(output.harmless(line))
    if not found:
        output.note("There are no dead letters.")


def _show_letter(found: Any) -> None:
    for label, value in {
        "dead letter": f"{LETTER}/{found['deadLetter']}",
        "destination": found["destination"],
        "condition": found["condition"],
        "error": found["error"],
        "attempts": str(found["attempts"]),
        "made": _time(found["createdTime"]),
        "given up": _time(found["buriedTime"]),
        "invocation": _name(found),
        "request id": found["requestId"],
        "record": found["record"],
    }.items():
        click.echo(output.harmless(f"{label:<12} {value}"))


def _all(client: Client, path: str, key: str, query: dict[str, str]) -> Iterator[Any]:
    """What is listed, page after page."""
    token = ""
    while True:
        wanted = {name: value for name, value in {**query, "nextToken": token}.items() if value}
        page = client.ask("GET", f"{path}?{urlencode(wanted)}")
        yield from page[key]
        token = page.get("nextToken", "")
        if not token:
            return


def _limit(number: int) -> str:
    return str(min(number, PAGE))


def _row(found: Any) -> tuple[str, ...]:
    invocation = found["invocation"]
    took = f"{invocation['durationMs']} ms" if invocation["endTime"] else ""
    return (
        invocation["status"],
        _time(invocation["startedTime"]),
        took,
        str(invocation["alreadyRetriedTimes"]),
        found["source"],
        _name(invocation),
    )


def _name(invocation: Any) -> str:
    qualifier = invocation["qualifier"]
    service = invocation["serviceName"] + ("" if qualifier == DEFAULT_LATEST else f".{qualifier}")
    return f"{service}/{invocation['functionName']}/{invocation['invocationId']}"


def _described(found: Any) -> Iterator[tuple[str, str]]:
    """What `show` prints, one line each; what is not known yet is left out."""
    invocation = found["invocation"]
    lines = {
        "invocation": _name(invocation),
        "status": invocation["status"],
        "request id": invocation["requestId"],
        "source": found["source"],
        "stateful": "yes" if found["stateful"] else "no",
        "accepted": _time(invocation["startedTime"]),
        "due": _time(found["dueTime"]) if found["dueTime"] else "",
        "ran": _time(found["runningTime"]) if found["runningTime"] else "",
        "expires": "" if invocation["endTime"] else _time(found["expiresTime"]),
        "ended": _time(invocation["endTime"]) if invocation["endTime"] else "",
        "took": f"{invocation['durationMs']} ms" if invocation["endTime"] else "",
        "retries": str(invocation["alreadyRetriedTimes"]),
        "throttled": str(found["throttles"] or ""),
        "instance": invocation["instanceId"],
        "error": invocation["invocationErrorMessage"],
        "destination": invocation["destinationStatus"],
        "event": invocation.get("invocationPayload", ""),
        "returned": invocation["returnPayload"],
    }
    yield from ((label, value) for label, value in lines.items() if value)


def _time(milliseconds: int) -> str:
    when = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return when.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
