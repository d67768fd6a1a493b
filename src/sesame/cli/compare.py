"""`sesame compare`: shows what would change under another runtime: compiling the sources, and answers to events.

Everything runs on the server, each call in a separate sandbox; side effects on other systems occur with each call.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from sesame.cli import completing, differences, naming, output
from sesame.cli.client import Request, quoted
from sesame.cli.recordings import EXIT_DIFFERENT, REPLAY_TIMEOUT_S
from sesame.cli.server_options import Session, at_server
from sesame.model import limits
from sesame.model.errors import ConfigurationError
from sesame.model.recording import RecordedOutcome

EVENTS_MAX = 1000


class Event(msgspec.Struct, frozen=True):
    """`name` is a file name or a line number."""

    name: str
    body: bytes


class Case(msgspec.Struct, frozen=True):
    """One event under the first runtime and under one of the others."""

    event: str
    runtime: str
    before: RecordedOutcome
    after: RecordedOutcome
    differences: list[differences.Difference]


@click.command()
@click.argument("name", metavar="SERVICE/FUNCTION[:QUALIFIER]", shell_complete=completing.functions)
@click.option(
    "--runtimes", required=True, metavar="OLD,NEW", help="The runtime to compare with, and one or more others."
)
@click.option(
    "--events", type=click.Path(exists=True, path_type=Path),
    help="JSON Lines file, or folder with one file per event [default: compare only the sources].",
)  # fmt: skip
@at_server
def compare(session: Session, name: str, runtimes: str, events: Path | None) -> None:
    """Calls a function with each event under each runtime, compiles its sources under each, and shows the differences.

    Exits with 1 if there are any.
    """
    wanted = _runtimes(runtimes)
    function = naming.function_name(name)
    sent = [] if events is None else read_events(events)
    session.announce(f"Comparing {name} under {', '.join(wanted)}")
    path = f"/sesame/services/{quoted(function.qualified_service)}/functions/{quoted(function.function)}"
    sources = {runtime: _sources(session, path, runtime) for runtime in wanted}
    cases = [case for event in sent for case in _cases(session, path, event, wanted)]
    old = wanted[0]
    new_findings = {runtime: [each for each in sources[runtime] if each not in sources[old]] for runtime in wanted[1:]}
    document = {
        "runtimes": wanted,
        "sources": [
            {"runtime": runtime, "finding": each, "new": runtime != old and each in new_findings[runtime]}
            for runtime in wanted for each in sources[runtime]
        ],
        "events": [
            {
                "event": case.event, "runtime": case.runtime,
                "differences": [{"what": each.what, "lines": each.lines} for each in case.differences],
                "durationMs": [case.before.duration_ms, case.after.duration_ms],
            }
            for case in cases
        ],
    }  # fmt: skip
    session.show(document, lambda: _lines(old, new_findings, cases))
    differs = any(case.differences for case in cases) or any(new_findings.values())
    sys.exit(EXIT_DIFFERENT if differs else 0)


def read_events(path: Path) -> list[Event]:
    """Reads each file of a folder, or each line of a JSON Lines file. Raises `ConfigurationError`."""
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        found = [Event(each.name, each.read_bytes()) for each in files]
    else:
        found = []
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if not line.strip():
                continue
            try:
                json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ConfigurationError(
                    f"{path}:{number}: this line is no JSON ({error}); a folder takes events of any form, one a file"
                ) from error
            found.append(Event(f"line {number}", line.strip()))
    if not found:
        raise ConfigurationError(f"{path} has no events: expected JSON lines, or a folder with a file for each event")
    if len(found) > EVENTS_MAX:
        raise ConfigurationError(f"{path} has {len(found)} events; expected at most {EVENTS_MAX}")
    return found


def _runtimes(text: str) -> list[str]:
    found = [each.strip() for each in text.split(",") if each.strip()]
    for each in found:
        if each not in limits.SANDBOXED_RUNTIMES:
            expected = ", ".join(limits.SANDBOXED_RUNTIMES)
            raise click.UsageError(f"--runtimes: there is no runtime '{each[:40]}'; expected some of {expected}")
    if len(set(found)) != len(found) or len(found) < 2:
        raise click.UsageError("--runtimes: expected two or more different ones, as python2.7,python3.12")
    return found


def _sources(session: Session, path: str, runtime: str) -> list[dict[str, Any]]:
    with output.busy(f"Compiling the sources under {runtime} …", quiet=True):
        found = session.client.ask_long(
            "POST", f"{path}/source-check?runtime={quoted(runtime)}", None, timeout_s=REPLAY_TIMEOUT_S
        )
    findings: list[dict[str, Any]] = found["findings"]
    return findings


def _cases(session: Session, path: str, event: Event, runtimes: list[str]) -> Iterator[Case]:
    before: RecordedOutcome | None = None
    for runtime in runtimes:
        with output.busy(f"{event.name} under {runtime} …", quiet=True):
            ended = _tried(session, path, event, runtime)
        if before is None:
            before = ended
            continue
        changed = differences.differences(before, ended, (runtimes[0], runtime))
        yield Case(event.name, runtime, before, ended, changed)


def _tried(session: Session, path: str, event: Event, runtime: str) -> RecordedOutcome:
    answer = session.client.send(
        Request(
            method="POST",
            path=f"{path}/trial?runtime={quoted(runtime)}",
            body=event.body,
            content_type="application/octet-stream",
            timeout_s=REPLAY_TIMEOUT_S,
        )
    )
    return differences.ended(msgspec.json.decode(answer.body)["outcome"])


def _lines(old: str, findings: dict[str, list[dict[str, Any]]], cases: list[Case]) -> Iterator[str]:
    for runtime, found in findings.items():
        yield f"sources under {runtime}: {_count(found)} that {old} does not have"
        for each in found:
            yield f"  {each['file']}:{each['line']}: {each['kind']}: {each['text']}"
    for case in cases:
        if not case.differences:
            yield f"{case.event} under {case.runtime}: the same  {differences.took(case.before, case.after)}"
            continue
        what = ", ".join(each.what for each in case.differences)
        yield f"{case.event} under {case.runtime}: {what} differ  {differences.took(case.before, case.after)}"
        for changed in case.differences:
            yield from (f"  {line}" for line in changed.lines)


def _count(found: list[dict[str, Any]]) -> str:
    errors = sum(each["kind"].endswith("Error") for each in found)
    return f"{errors} errors, {len(found) - errors} warnings"
