"""`sesame layers from-command` and `add`: make a layer from a program installed on this machine.

The layer is tried in a sandbox before it is published. `cli.layers` defines the commands.
"""

import asyncio
import json
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from sesame.cli.layer_publishing import published
from sesame.cli.local_call import LocalCall, LocalFunction
from sesame.cli.server_options import Session, at_server_with
from sesame.model import limits
from sesame.model.errors import ConfigurationError
from sesame.sandbox.shim import SHIM

CHECK_S = 60
CHECK_MEMORY_MB = 512
MIB = 1024 * 1024


class Known(msgspec.Struct, frozen=True):
    """Programs that belong together, and an argument with which each of them exits immediately."""

    programs: tuple[str, ...]
    argument: str


KNOWN = {
    "ffmpeg": Known(("ffmpeg", "ffprobe"), "-version"),
    "poppler": Known(("pdftoppm", "pdftotext", "pdfinfo"), "-v"),
}
_SANDBOX = ("interpreters", "runtimes_dir", "sandbox", "cpu", "account_id", "region")


@click.command("from-command")
@click.argument("name")
@click.option(
    "-p", "--program", "programs", multiple=True, metavar="PROGRAM",
    help="Name or path of a program; may be repeated [default: NAME].",
)  # fmt: skip
@click.option(
    "--try", "arguments", default="--version", show_default=True, metavar="ARGUMENTS",
    help="Arguments with which each program is tried in the sandbox.",
)  # fmt: skip
@at_server_with(*_SANDBOX)
def from_command(session: Session, name: str, programs: tuple[str, ...], arguments: str) -> None:
    """Publishes programs of this machine, with the shared libraries that they need, as the layer NAME.

    They are in /opt/bin, which is on a function's PATH. Their data files are not found: put those into your own folder,
    and `publish` it.
    """
    _publish(session, name, programs or (name,), shlex.split(arguments))


@click.command()
@click.argument("name", type=click.Choice(sorted(KNOWN)))
@at_server_with(*_SANDBOX)
def add(session: Session, name: str) -> None:
    """Publishes a well-known program of this machine as a layer: short for `from-command`."""
    known = KNOWN[name]
    _publish(session, name, known.programs, [known.argument])


def lay_out_known(session: Session, name: str, folder: Path) -> str:
    """Like `add`, into an empty folder; returns a description of its contents."""
    known = KNOWN[name]
    return _lay_out(session, known.programs, [known.argument], folder)


def _publish(session: Session, name: str, programs: Sequence[str], arguments: Sequence[str]) -> None:
    session.announce(f"Publishing the layer {name}")
    with tempfile.TemporaryDirectory(prefix="sesame-layer-") as scratch:
        folder = Path(scratch)
        # Instances run as users of their own.
        folder.chmod(0o755)
        described = _lay_out(session, programs, arguments, folder)
        published(session, name, folder, limits.SANDBOXED_RUNTIMES, described)


def _lay_out(session: Session, programs: Sequence[str], arguments: Sequence[str], folder: Path) -> str:
    # Imported late: only these commands need it.
    from sesame.build import program_layer
    from sesame.build import programs as elf

    found = [(Path(each).name, elf.read(elf.find(each))) for each in programs]
    made = program_layer.lay_out(found, folder)
    for program, _closure in found:
        _say(session, asyncio.run(_tried(session, folder, [program, *arguments])))
    return (
        f"{', '.join(program for program, _closure in found)} of this machine with {made.libraries} libraries; "
        f"needs the C library {made.glibc[0]}.{made.glibc[1]}"
    )


async def _tried(session: Session, layer: Path, words: Sequence[str]) -> str:
    """Runs the program in a sandbox with this layer; returns the first line of its output.

    Raises `ConfigurationError` if it cannot run there.
    """
    from sesame.cli.local import opened

    function = LocalFunction(
        code=SHIM / "checks", handler="programs.handler", runtime="", initializer="", timeout_s=CHECK_S,
        memory_mb=CHECK_MEMORY_MB, environment={},
    )  # fmt: skip
    log = bytearray()

    def keep(_source: Any, _request_id: str, data: bytes, _more: bool) -> None:
        log.extend(data)

    async with opened(function, session.settings, lambda _line: None, sink=keep, layers=[layer]) as calls:
        outcome = await calls.call(LocalCall(event=json.dumps(words).encode()))
    if outcome.error is not None:
        raise ConfigurationError(f"the layer could not be tried: {log.decode(errors='replace').strip()[-2000:]}")
    result = json.loads(outcome.payload)
    _require_run(words, result)
    return next((line.strip() for line in result["output"].splitlines() if line.strip()), "")


def _require_run(words: Sequence[str], result: dict[str, Any]) -> None:
    said = result["output"].strip()[-2000:]
    if result["missing"]:
        raise ConfigurationError(f"{words[0]} misses in the sandbox: {', '.join(result['missing'])}")
    if result["error"]:
        raise ConfigurationError(
            f"{words[0]} cannot be started in the sandbox: {result['error']}; its loader may not be there, as when it "
            "was made for another C library"
        )
    if result["status"] < 0 or result["status"] in (126, 127) or "error while loading shared libraries" in said:
        raise ConfigurationError(
            f"`{shlex.join(words)}` ended with status {result['status']} in the sandbox: {said or 'it wrote nothing'}; "
            "if these arguments are wrong for it, name others with --try"
        )


def _say(session: Session, line: str) -> None:
    if not session.as_json:
        session.show(None, lambda: iter([f"tried in a sandbox: {line}"]))
