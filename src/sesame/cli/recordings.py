"""`sesame record`: sets which calls are recorded, and lists recordings. `sesame replay`: runs a recorded call again.

Both ask the server, which also runs replays, in separate sandboxes.
"""

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from sesame.cli import completing, differences, naming, output
from sesame.cli.client import quoted
from sesame.cli.server_options import Session, at_server
from sesame.model import limits, utc
from sesame.model.owner import label, stands_alone
from sesame.model.recording import RecordedOutcome

RECORDINGS = "/sesame/recordings"
EXIT_DIFFERENT = 1
MODES = ("none", "failed", "all", "server")
REPLAY_TIMEOUT_S = limits.TIMEOUT_S_MAX + limits.INITIALIZATION_TIMEOUT_S_MAX


@click.group()
def record() -> None:
    """Sets which calls are recorded, and lists, shows and deletes recordings."""


@record.command("set")
@click.argument("name", metavar="SERVICE/FUNCTION", shell_complete=completing.functions)
@click.argument("mode", type=click.Choice(MODES))
@at_server
def set_mode(session: Session, name: str, mode: str) -> None:
    """Records none, failed or all calls of a function from now on; `server` applies the server's --record."""
    session.announce(f"Recording {name}")
    path = _recording_path(naming.function_name(name))
    found = session.client.ask("PUT", path, {"mode": mode})
    session.show(found, lambda: iter([f"{name}  {_mode(found)}"]))


@record.command("get")
@click.argument("name", metavar="SERVICE/FUNCTION", shell_complete=completing.functions)
@at_server
def get_mode(session: Session, name: str) -> None:
    """Shows which calls of a function are recorded."""
    session.announce(f"Recording of {name}")
    found = session.client.ask("GET", _recording_path(naming.function_name(name)))
    session.show(found, lambda: iter([f"{name}  {_mode(found)}"]))


@record.command("list")
@click.argument("name", metavar="[SERVICE/FUNCTION]", required=False, shell_complete=completing.functions)
@click.option("-n", "--last", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Maximum number.")
@at_server
def list_recordings(session: Session, name: str | None, last: int) -> None:
    """Lists recorded calls, the newest first."""
    session.announce("Listing recordings")
    pages = session.client.pages(f"{RECORDINGS}?{_query(name)}", "recordings")
    found = [each for each, _number in zip(pages, range(last), strict=False)]
    session.show({"recordings": found}, lambda: _table(found))


@record.command("show")
@click.argument("request_id")
@at_server
def show_recording(session: Session, request_id: str) -> None:
    """Shows one recorded call: event, names of environment variables, code, outcome, log."""
    session.announce(f"Showing {request_id}")
    found = session.client.ask("GET", f"{RECORDINGS}/{quoted(request_id)}")
    session.show(found, lambda: _whole(found))


@record.command("delete")
@click.argument("name", metavar="[SERVICE/FUNCTION]", required=False, shell_complete=completing.functions)
@click.option("--all", "everything", is_flag=True, help="Recordings of all functions.")
@at_server
def delete_recordings(session: Session, name: str | None, everything: bool) -> None:
    """Deletes the recordings of a function, or all recordings."""
    if (name is None) == (not everything):
        raise click.UsageError("name a SERVICE/FUNCTION, or give --all")
    session.announce("Deleting recordings")
    found = session.client.ask("DELETE", f"{RECORDINGS}?{_query(name)}")
    session.show(found, lambda: iter([f"{found['deleted']} recordings deleted"]))


@click.command()
@click.argument("request_id")
@click.option(
    "--runtime", type=click.Choice(limits.SANDBOXED_RUNTIMES), help="Runtime to use instead of the recorded one."
)
@click.option(
    "--code", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with code to run instead of the recorded code.",
)  # fmt: skip
@at_server
def replay(session: Session, request_id: str, runtime: str | None, code: Path | None) -> None:
    """Runs a recorded call again, on the server in a separate sandbox, and shows what differs.

    Side effects on other systems occur again. Exits with 1 if result, error or log differ.
    """
    session.announce(f"Replaying {request_id}")
    document: dict[str, Any] = {"runtime": runtime} if runtime else {}
    if code is not None:
        document["code"] = {"zipFile": base64.b64encode(_archive(code)).decode()}
    found = session.client.ask_long(
        "POST", f"{RECORDINGS}/{quoted(request_id)}/replay", document, timeout_s=REPLAY_TIMEOUT_S
    )
    recorded = found["recorded"]
    before, after = differences.ended(recorded["outcome"]), differences.ended(found["outcome"])
    names = (f"recorded {recorded['runtime']}", f"replayed {found['runtime']}")
    changed = differences.differences(before, after, names)
    document = {
        **found,
        "context": list(_context(found)),
        "differences": [{"what": each.what, "lines": each.lines} for each in changed],
    }
    session.show(document, lambda: _replayed(found, before, after, changed))
    sys.exit(EXIT_DIFFERENT if changed else 0)


def _replayed(
    found: dict[str, Any], before: RecordedOutcome, after: RecordedOutcome, changed: list[differences.Difference]
) -> Iterator[str]:
    recorded = found["recorded"]
    code = "the recorded code" if found["code"] == recorded["code"] else "other code"
    name = label(recorded["service"], recorded["function"])
    yield f"{name}  {recorded['runtime']} → {found['runtime']}  {code}"
    yield from (f"  {line}" for line in _context(found))
    for each in changed:
        yield f"{each.what} differs"
        yield from (f"  {line}" for line in each.lines)
    if not changed:
        yield "result, error and log are the same"
    yield f"time    {differences.took(before, after)}"
    yield f"memory  {before.memory_mb:.2f} MB → {after.memory_mb:.2f} MB"


def _context(found: dict[str, Any]) -> Iterator[str]:
    """Other conditions that have changed since, which may explain a different outcome."""
    recorded = found["recorded"]
    for name in found["missing"]:
        yield f"the function has no variable {name} now: it was not set"
    for name in found["changed"]:
        yield f"the variable {name} has another value now"
    if found["role"] != recorded["role"]:
        yield f"the role was {recorded['role'] or 'none'}, and is {found['role'] or 'none'} now"
    cut = recorded["outcome"]["logCutBytes"]
    if cut:
        yield f"of the recorded log, the first {cut} bytes were not kept"


def _archive(folder: Path) -> bytes:
    # Imported late: only --code needs it.
    from sesame.deploy.archive import packed
    from sesame.deploy.folder import ignore_file
    from sesame.deploy.project import Code, left_out

    return packed(Code(path=folder.resolve(), ignore_file=ignore_file(folder), left_out=left_out("python")))


def _recording_path(name: naming.FunctionName) -> str:
    return f"/sesame/services/{quoted(name.service)}/functions/{quoted(name.function)}/recording"


def _query(name: str | None) -> str:
    if name is None:
        return ""
    found = naming.function_name(name)
    return f"service={quoted(found.service)}&function={quoted(found.function)}"


def _mode(found: dict[str, Any]) -> str:
    whose = "its own setting" if found["own"] else "the server's setting"
    return f"records {found['mode']} ({whose})"


def _table(found: list[dict[str, Any]]) -> Iterator[str]:
    if not found:
        return iter(["No calls are recorded."])
    rows: list[tuple[str, ...]] = [("request", "at", "function", "runtime", "outcome", "took")]
    for each in found:
        name = label(each["service"], each["function"], each["qualifier"])
        took = f"{each['durationMs']:.2f} ms"
        outcome = each["errorType"] or "ok"
        rows.append((each["requestId"], utc.text_of(each["recordedAt"]), name, each["runtime"], outcome, took))
    return output.aligned(rows)


def _whole(found: dict[str, Any]) -> Iterator[str]:
    outcome = found["outcome"]
    alone = stands_alone(found["service"])
    for key in ("requestId", *(() if alone else ("service",)), "function", "qualifier", "runtime", "handler", "code"):
        yield f"{key:<12} {found[key]}"
    yield f"{'recordedAt':<12} {utc.text_of(found['recordedAt'])}"
    yield f"{'environment':<12} {', '.join(found['environment']) or '-'}"
    yield f"{'event':<12} {_text(found['event'], found['eventBytes'])}"
    yield f"{'error':<12} {outcome['errorType'] or '-'}"
    yield f"{'result':<12} {_text(outcome['result'], outcome['resultBytes'])}"
    yield f"{'role':<12} {found['role'] or '-'}"
    cut = outcome["logCutBytes"]
    yield f"log          ({cut} bytes before this are not kept)" if cut else "log"
    for line in base64.b64decode(outcome["log"]).decode("utf-8", "replace").splitlines():
        yield f"  {line}"


def _text(data: str | None, size: int) -> str:
    return f"({size} bytes, not kept)" if data is None else base64.b64decode(data).decode("utf-8", "backslashreplace")
