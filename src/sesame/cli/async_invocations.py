"""`sesame async`: lists, shows, stops and replays a server's asynchronous invocations and dead letters.

Uses Sesame's own operations below `/sesame/`, with signed requests.
"""

import datetime
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import click
import msgspec

from sesame.cli import completing, naming, output
from sesame.cli.client import quoted
from sesame.cli.naming import FunctionName
from sesame.cli.server_options import Session, at_server
from sesame.model.async_invocation import State
from sesame.model.owner import label
from sesame.model.shortened import shortened

INVOCATIONS, LETTERS = "/sesame/async-invocations", "/sesame/dead-letters"
DESTINATIONS = "/sesame/async-destinations"
PAGE = 100
MOST = 1_000_000
# Limits the last error shown in a list.
ERROR_CHARS = 60
# Precedes the number in a dead letter's name.
LETTER = "dead-letter"
NAME = "[SERVICE/]FUNCTION[:QUALIFIER]/ID"
NAME_OR_LETTER = f"{NAME}|{LETTER}/NUMBER"


class InvocationName(msgspec.Struct, frozen=True):
    """An invocation's name in `sesame async list`."""

    function: FunctionName
    invocation_id: str

    @property
    def path(self) -> str:
        service, function = self.function.qualified_service, self.function.function
        return f"/sesame/services/{quoted(service)}/functions/{quoted(function)}/async-invocations/" + quoted(
            self.invocation_id
        )


@click.group("async")
def async_() -> None:
    """Lists, shows, stops and replays asynchronous invocations."""


@async_.command("list")
@click.argument(
    "function", metavar="[SERVICE/FUNCTION[:QUALIFIER]]", required=False, shell_complete=completing.functions
)
@click.option("--status", type=click.Choice([state.value for state in State], case_sensitive=False))
@click.option("--prefix", default="", metavar="TEXT", help="Only invocations whose ids start with this.")
@click.option("--dead-letters", is_flag=True, help="List records that could not be delivered to their destinations.")
@click.option("-n", "--number", type=click.IntRange(1, MOST), default=20, show_default=True, help="Maximum number.")
@at_server
def list_invocations(
    session: Session, function: str | None, status: str | None, prefix: str, dead_letters: bool, number: int
) -> None:
    """Lists the invocations of a function, or of all functions.

    The newest come first. Each line ends with the name that the other commands take.
    """
    query = {"status": status or "", "invocationIdPrefix": prefix, "limit": str(min(number, PAGE))}
    if function is not None:
        wanted = naming.function_name(function)
        query |= {"service": wanted.qualified_service, "function": wanted.function}
    if dead_letters and (function is not None or status is not None or prefix):
        raise click.UsageError("dead letters are listed all: leave the function, --status and --prefix away")
    session.announce("Listing dead letters" if dead_letters else "Listing asynchronous invocations")
    path, key = (LETTERS, "deadLetters") if dead_letters else (INVOCATIONS, "invocations")
    sent = urlencode({name: value for name, value in query.items() if value})
    found = list(islice(session.client.pages(f"{path}?{sent}", key), number))
    session.show(found, lambda: _letter_table(found) if dead_letters else _table(found))


@async_.command()
@click.argument("name", metavar=NAME_OR_LETTER)
@at_server
def show(session: Session, name: str) -> None:
    """Shows one invocation, or one dead letter.

    For an invocation: its state, event, result and history.
    """
    letter = letter_path(name)
    path = letter or invocation_name(name).path
    session.announce(f"Showing {name}")
    found = session.client.ask("GET", path)
    session.show(found, lambda: _letter_lines(found) if letter else _lines(found))


@async_.command()
@at_server
def destinations(session: Session) -> None:
    """Lists where results of functions go, and why some destinations get no records here."""
    session.announce("Listing destinations")
    found = list(session.client.pages(f"{DESTINATIONS}?limit={PAGE}", "destinations"))
    session.show(found, lambda: _destination_table(found))


@async_.command()
@click.argument("name", metavar=NAME)
@at_server
def stop(session: Session, name: str) -> None:
    """Stops an invocation.

    A queued invocation never starts; the instance of a running one is killed.
    """
    path = invocation_name(name).path
    session.announce(f"Stopping {name}")
    session.client.ask("PUT", path)
    found = session.client.ask("GET", path)
    session.show(found, lambda: iter([found["invocation"]["status"]]))


@async_.command()
@click.argument("name", metavar=NAME_OR_LETTER)
@at_server
def replay(session: Session, name: str) -> None:
    """Runs an invocation once more, or delivers a dead letter again.

    The event of an ended invocation is accepted as a new invocation, whose name is printed.
    """
    letter = letter_path(name)
    path = letter or invocation_name(name).path
    session.announce(f"Replaying {name}")
    made = session.client.ask("POST", f"{path}/replay")
    if letter:
        session.show({"replayed": name}, lambda: iter(()))
        return
    session.show(made, lambda: iter([f"{name.rpartition('/')[0]}/{made['invocationId']}"]))


def letter_path(name: str) -> str:
    """The path of a dead letter; "" if `name` is not one."""
    kind, _slash, number = name.partition("/")
    return f"{LETTERS}/{quoted(number)}" if kind == LETTER and number and "/" not in number else ""


def invocation_name(name: str) -> InvocationName:
    """Parses the name of an invocation. Raises `UsageError`."""
    function, _slash, invocation_id = name.rpartition("/")
    if not invocation_id or not function:
        raise click.UsageError(f"'{name[:80]}' names no invocation: expected {NAME}, as `sesame async list` prints it")
    return InvocationName(naming.function_name(function), invocation_id)


def _table(found: list[Any]) -> Iterator[str]:
    if not found:
        output.note("No invocations match.")
    rows = [("status", "accepted", "took", "retries", "source", "next", "last error", "invocation")]
    for each in found:
        invocation = each["invocation"]
        took = f"{invocation['durationMs']} ms" if invocation["endTime"] else ""
        retries, accepted = str(invocation["alreadyRetriedTimes"]), _time(invocation["startedTime"])
        error = shortened(" ".join(invocation["invocationErrorMessage"].split()), ERROR_CHARS)
        told = (each["source"], _time(each["dueTime"]), error, _name(invocation))
        rows.append((invocation["status"], accepted, took, retries, *told))
    return output.aligned(rows)


def _destination_table(found: list[Any]) -> Iterator[str]:
    if not found:
        output.note("No function has a destination.")
    rows = [("function", "on", "destination", "delivered")]
    for each in found:
        why = each["undeliveredBecause"]
        rows.append((_function(each), each["condition"], each["destination"], f"no: {why}" if why else "yes"))
    return output.aligned(rows)


def _letter_table(found: list[Any]) -> Iterator[str]:
    if not found:
        output.note("There are no dead letters.")
    rows = [("given up", "attempts", "condition", "destination", "dead letter")]
    for each in found:
        name, attempts = f"{LETTER}/{each['deadLetter']}", str(each["attempts"])
        rows.append((_time(each["buriedTime"]), attempts, each["condition"], each["destination"], name))
    return output.aligned(rows)


def _lines(found: Any) -> Iterator[str]:
    """Leaves out what is not known yet."""
    invocation = found["invocation"]
    yield from _labelled(
        {
            "invocation": _name(invocation),
            "status": invocation["status"],
            "request id": invocation["requestId"],
            "source": found["source"],
            "stateful": "yes" if found["stateful"] else "no",
            "accepted": _time(invocation["startedTime"]),
            "due": _time(found["dueTime"]),
            "ran": _time(found["runningTime"]),
            "expires": "" if invocation["endTime"] else _time(found["expiresTime"]),
            "ended": _time(invocation["endTime"]),
            "took": f"{invocation['durationMs']} ms" if invocation["endTime"] else "",
            "retries": str(invocation["alreadyRetriedTimes"]),
            "throttled": str(found["throttles"] or ""),
            "instance": invocation["instanceId"],
            "error": invocation["invocationErrorMessage"],
            "destination": invocation["destinationStatus"],
            "event": invocation.get("invocationPayload", ""),
            "returned": _returned(invocation),
        }
    )
    for event in invocation["events"]:
        detail = f"  {event['eventDetail']}" if event["eventDetail"] else ""
        yield f"{'':<12} {_time(event['timestamp'])} {event['status']}{detail}"


def _returned(invocation: Any) -> str:
    whole = invocation.get("returnPayloadBytes")
    cut = "" if whole is None else f"(the beginning of {whole} bytes) "
    return cut + str(invocation["returnPayload"])


def _letter_lines(found: Any) -> Iterator[str]:
    return _labelled(
        {
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
        }
    )


def _labelled(values: dict[str, str]) -> Iterator[str]:
    return (f"{label:<12} {value}" for label, value in values.items() if value)


def _name(found: Any) -> str:
    return f"{_function(found)}/{found['invocationId']}"


def _function(found: Any) -> str:
    return label(found["serviceName"], found["functionName"], found["qualifier"])


def _time(milliseconds: int) -> str:
    """Formats Unix milliseconds; "" for 0, which means that the time is not known yet."""
    if not milliseconds:
        return ""
    when = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return when.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
