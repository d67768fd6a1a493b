"""`sesame events`: prints a sample event of each trigger source, for `sesame invoke -f -`.

Needs no server.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from sesame.cli import output
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.model import object_event, sample_events
from sesame.model.sample_events import Origin
from sesame.model.schedules import NotASchedule, utc
from sesame.model.tick_json import tick_json

# The account in the manual's samples.
SAMPLE_ACCOUNT = "123456789"
# Events of logs have cursors that count nanoseconds in 64 bits. In Unix seconds: the end of the last whole year.
LAST_YEAR = 2261
END_S = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp()


@click.group()
def events() -> None:
    """Prints a sample event of a source, as a trigger of that type passes it to a function.

    For example: sesame events oss --bucket photos --key a.jpg | sesame invoke main.handler -f -
    """


def _source(command: Callable[..., bytes]) -> click.Command:
    """Makes a command that writes an event to stdout, indented with --json; its first parameter is the origin."""

    def run(at: str | None, as_json: bool, **flags: Any) -> None:
        settings = settle(flags)
        options = {name: value for name, value in flags.items() if name not in ("region", "account_id", "config")}
        origin = Origin(region=settings.region, account_id=settings.account_id or SAMPLE_ACCOUNT, at=_time(at))
        event = command(origin, **options)
        if as_json:
            output.json_document(output.json_value(event))
            return
        sys.stdout.buffer.write(event)
        if sys.stdout.isatty():
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()

    run.__doc__ = command.__doc__
    run.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    at = click.option("--at", metavar="TIME", help="Time of the event, such as 2027-01-15T10:00:00Z [default: now].")
    name = command.__name__.replace("_", "-")
    return events.command(name)(with_settings("region", "account_id")(with_json(at(run))))


def _time(at: str | None) -> float:
    if at is None:
        return time.time()
    try:
        found = utc(at)
    except NotASchedule as error:
        raise click.UsageError(f"--at {output.harmless(at[:80])}: expected {error}") from error
    if not 0 <= found < END_S:
        raise click.UsageError(f"--at {at}: expected a time from 1970 to {LAST_YEAR}")
    return found


@_source
@click.option("--name", default="timer-trigger", show_default=True, help="The trigger's name.")
@click.option("--payload", default="awesome-fc", show_default=True, help="The payload in its configuration.")
def timer(origin: Origin, name: str, payload: str) -> bytes:
    """A tick of a timer."""
    return tick_json(name, payload, origin.at)


@_source
@click.option("--bucket", default="bucket", show_default=True, help="The bucket's name.")
@click.option("--key", default="sample.txt", show_default=True, help="The object's key.")
@click.option(
    "--event", "event_name", default=object_event.PUT_OBJECT, show_default=True,
    type=click.Choice([*object_event.RAISED, *object_event.NOT_RAISED]), help="What happened.",
)  # fmt: skip
def oss(origin: Origin, bucket: str, key: str, event_name: str) -> bytes:
    """The creation of an object, or another event of one."""
    return sample_events.oss(origin, bucket, key, event_name)


@_source
@click.option("--project", default="project", show_default=True, help="The project of Log Service.")
@click.option("--logstore", default="logstore", show_default=True, help="Its logstore.")
@click.option("--parameter", default="{}", show_default=True, help="The trigger's functionParameter, as JSON.")
def log(origin: Origin, project: str, logstore: str, parameter: str) -> bytes:
    """New lines in a logstore: the two cursors that enclose them."""
    return sample_events.log(origin, project, logstore, "log-trigger", _json("--parameter", parameter, dict[str, Any]))


@_source
@click.option("--topic", default="topic", show_default=True, help="The topic's name.")
@click.option("--message", default="Hello, Sesame", show_default=True, help="The published message.")
@click.option("--stream", is_flag=True, help="Only the message, as with notifyContentFormat STREAM.")
def mns(origin: Origin, topic: str, message: str, stream: bool) -> bytes:
    """A message published to a topic of Message Service."""
    return message.encode() if stream else sample_events.mns_topic(origin, topic, message, "mns-trigger")


@_source
@click.option("--domain", default="www.example.com", show_default=True, help="The accelerated domain.")
@click.option("--event", "event_name", default="LogFileCreated", show_default=True, help="What happened.")
def cdn(origin: Origin, domain: str, event_name: str) -> bytes:
    """An event of the CDN."""
    return sample_events.cdn(origin, domain, event_name, "1.0.0")


@_source
def tablestore(origin: Origin) -> bytes:
    """A new row in Tablestore. The event is CBOR, not JSON."""
    return sample_events.tablestore(origin)


@_source
@click.option("--method", default="GET", show_default=True, help="The request's method.")
@click.option("--path", default="/", show_default=True, help="The request's path.")
@click.option("--body", default="", help="The request's body.")
def apigateway(origin: Origin, method: str, path: str, body: str) -> bytes:
    """A request forwarded by API Gateway."""
    return sample_events.api_gateway(method, path, body)


@_source
@click.option(
    "--source", default="Default", show_default=True, metavar="TYPE",
    help="The eventSourceType: Default, MNS, RocketMQ, Kafka …; with these three, functions get a list.",
)  # fmt: skip
@click.option("--data", default='{"message": "Hello, Sesame"}', show_default=True, help="The event's data, as JSON.")
def eventbridge(origin: Origin, source: str, data: str) -> bytes:
    """An event of EventBridge, in CloudEvents 1.0 format."""
    return sample_events.event_bridge(origin, source, _json("--data", data, Any))


def _json(flag: str, text: str, shape: Any) -> Any:
    try:
        return msgspec.json.decode(text.encode("utf-8", "surrogateescape"), type=shape)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{flag}: no JSON of the expected form: {error}") from error
    except RecursionError as error:
        raise click.UsageError(f"{flag}: its JSON is nested too deeply") from error
