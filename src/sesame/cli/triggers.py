"""`sesame triggers`: lists a running Sesame's triggers, including those that never fire, and fires one by hand.

Uses the server's API, like any client.
"""

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from sesame.cli import completing, output
from sesame.cli.client import Request, quoted
from sesame.cli.server_options import Session, at_server
from sesame.model import limits
from sesame.model.owner import label, owner_of, trigger_label

TRIGGERS = "/sesame/triggers"
PAGE = 100
NAME = "[SERVICE/]FUNCTION/TRIGGER"


@click.group()
def triggers() -> None:
    """Lists triggers, and fires one by hand."""


@triggers.command("list")
@at_server
def list_triggers(session: Session) -> None:
    """Lists the triggers of all functions: what each waits for, or why it does not fire."""
    session.announce("Listing triggers")
    found = list(_all(session))
    session.show(found, lambda: _table(found))
    if not found:
        output.note("No function has a trigger.")


@triggers.command()
@click.argument("name", metavar="[[SERVICE/]FUNCTION/]TRIGGER", shell_complete=completing.triggers)
@click.option(
    "-f", "--event-file", type=click.File("rb"),
    help="The event [default: a sample of the trigger's type]; - reads standard input.",
)  # fmt: skip
@at_server
def fire(session: Session, name: str, event_file: Any) -> None:
    """Calls a trigger's function as if its event had occurred, even if the trigger is disabled.

    The call is asynchronous: its name is printed, for `sesame async show`. The trigger's own name is enough if it is
    unique.
    """
    event = b"" if event_file is None else event_file.read(limits.ASYNC_PAYLOAD_BYTES + 1)
    if len(event) > limits.ASYNC_PAYLOAD_BYTES:
        raise click.UsageError(
            f"the event is larger than {limits.ASYNC_PAYLOAD_BYTES} bytes, the most that an asynchronous call takes"
        )
    session.announce("Firing a trigger")
    service, function, trigger = map(quoted, _place(session, name))
    query = "?sample=true" if event_file is None else ""
    request = Request(
        method="POST",
        path=f"/sesame/services/{service}/functions/{function}/triggers/{trigger}/fire{query}",
        body=event,
        content_type="application/octet-stream",
    )
    fired = msgspec.json.decode(session.client.send(request).body)
    session.show(fired, lambda: iter([_invocation(fired)]))


def _place(session: Session, name: str) -> tuple[str, str, str]:
    """Service, function and trigger from a full name, or from a unique trigger name."""
    parts = name.split("/")
    if len(parts) == 3 and all(parts):
        return parts[0], parts[1], parts[2]
    if len(parts) == 2 and all(parts):
        return owner_of(parts[0]), parts[0], parts[1]
    if len(parts) != 1 or not name:
        raise click.UsageError(f"'{output.harmless(name)}' names no trigger: expected {NAME}, or TRIGGER alone")
    named = [each for each in _all(session) if each["triggerName"] == name]
    if len(named) == 1:
        return named[0]["serviceName"], named[0]["functionName"], name
    if not named:
        raise click.UsageError(f"no trigger is called '{output.harmless(name)}': sesame triggers list names them all")
    shown = ", ".join(map(_name, named))
    raise click.UsageError(output.harmless(f"{len(named)} triggers are called '{name}': name one of {shown}"))


def _all(session: Session) -> Iterator[Any]:
    return session.client.pages(f"{TRIGGERS}?limit={PAGE}", "triggers")


def _table(found: list[Any]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("trigger", "type", "waits for", "fires")]
    for each in found:
        qualifier = f" → {each['qualifier']}" if each["qualifier"] else ""
        fires = "yes" if not each["silentBecause"] else f"no: {each['silentBecause']}"
        rows.append((_name(each) + qualifier, each["triggerType"], _awaited(each), fires))
    return output.aligned(rows)


def _name(found: Any) -> str:
    return trigger_label(f"{found['serviceName']}/{found['functionName']}", found["triggerName"])


def _invocation(fired: Any) -> str:
    """The invocation's name in `sesame async`."""
    return f"{label(fired['serviceName'], fired['functionName'], fired['qualifier'])}/{fired['invocationId']}"


def _awaited(found: Any) -> str:
    """Describes briefly what the trigger waits for."""
    config, source = found["triggerConfig"], (found["sourceArn"] or "").rpartition(":")[2]
    match found["triggerType"]:
        case "timer":
            return str(config["cronExpression"])
        case "http":
            return " ".join(config["methods"])
        case "oss":
            key = config.get("filter", {}).get("key", {})
            wanted = f"{key.get('prefix', '')}*{key.get('suffix', '')}"
            return f"{source} {wanted} {', '.join(config['events'])}"
        case "cdn_events":
            return str(config["eventName"])
        case "log":
            return f"{source} {config['sourceConfig']['logstore']}"
    return source
