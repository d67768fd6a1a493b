"""`sesame dev`: runs a project while it is being developed. The next call uses saved files; calls and logs are shown.

`sesame.dev` implements it. All output goes to stderr; Ctrl-C ends it with exit code 0.
"""

import asyncio
import shlex
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from sesame.app import Sesame
from sesame.cli import naming, output, own_log, server
from sesame.cli.call_lines import CallLines, to_stderr
from sesame.cli.client import Client
from sesame.cli.options import refuse_given, settle, with_settings
from sesame.cli.wanted import wanted, with_project_options
from sesame.deploy import sources
from sesame.deploy.project import Project
from sesame.dev import watching
from sesame.dev.debugged import PORT, DebuggedFunction, Wanted
from sesame.dev.development import Development, Needs, urls
from sesame.dev.guessed_once import GuessedOnce
from sesame.dev.places import data_dir_of
from sesame.engine.interface import Observer
from sesame.model.clocks import SystemClocks
from sesame.model.errors import SesameError
from sesame.settings import Settings

REMEMBERED = "dev.json"
FILES_SHOWN_MAX = 3
_PORTS = ("port", "oss_port", "sls_port", "sts_port")
SETTINGS = (
    *_PORTS, "data_dir", "sandbox", "interpreters", "runtimes_dir", "region",
    "account_id",
)  # fmt: skip
# Options for the Sesame that the command starts, which have no effect on a server that already runs.
OF_ITS_OWN = ("debugged", "debug_port", "keep_serving", *_PORTS, "sandbox")


class Reached(msgspec.Struct, frozen=True):
    """How functions are called: `port` serves local URLs; `option` names the server if commands do not find it."""

    port: int | None = None
    option: str = ""


def _a_function(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refuses an option after a `--debug` without a name, which click takes for the name."""
    if value is not None and value.startswith("-"):
        raise click.BadParameter(f"found {value}, expected the name of the function, as --debug SERVICE/FUNCTION")
    return value


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path), default=Path())
@click.option("-t", "--template", type=click.Path(exists=True, path_type=Path), help="Template with another file name.")
@with_project_options
@click.option(
    "--debug",
    "debugged",
    metavar="FUNCTION",
    callback=_a_function,
    help="Start a debugger in this function's instance.",
)
@click.option(
    "--debug-port", type=click.IntRange(0, 65535), default=PORT, show_default=True,
    help="Loopback port of the debugger.",
)  # fmt: skip
@click.option("--keep-serving", is_flag=True, help="Keep the old code if the new code cannot be loaded.")
@click.option("--endpoint", metavar="URL", help="Deploy to this server, instead of starting one for the project.")
@with_settings(*SETTINGS)
def dev(**options: Any) -> None:
    """Runs SOURCE (a folder with a template.yml, s.yaml or serverless.yml, a template, or a folder or file with a
    handler) on its own Sesame, and deploys every saved change. Shows calls, logs and failures as they happen.
    """
    if options["endpoint"]:
        refuse_given(OF_ITS_OWN, "--endpoint names a server that runs already")
    if not options["debugged"]:
        refuse_given(("debug_port",), "without --debug there is no debugger")
    settings = settle(options)
    own_log.configure()
    source: Path = options["template"] or options["source"]
    uvloop.run(_run(options, settings, source.resolve()))


async def _run(options: dict[str, Any], settings: Settings, source: Path) -> None:
    """Runs until SIGINT or SIGTERM."""
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    assert main is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, main.cancel)
    clocks = SystemClocks()
    lines = to_stderr(clocks)
    lines.open()
    try:
        if options["endpoint"]:
            await _at_endpoint(options, settings, source, lines)
        else:
            await _at_own(options, settings, source, lines)
    except asyncio.CancelledError:
        lines.say("Stopped.")
    finally:
        lines.close()


async def _at_endpoint(options: dict[str, Any], settings: Settings, source: Path, lines: CallLines) -> None:
    chosen = server.choose(server.Named(settings.data_dir, options["data_dir"] is not None, options["endpoint"]))
    lines.say(f"Deploying to {chosen.endpoint} as {chosen.key.described()}.")
    lines.say(
        "Only that: calls, logs and failures to load are shown by that server, and functions that the template loses "
        "stay there until `sesame delete`."
    )
    root = _root(source)
    needs = Needs(root=root, read=_reader(options, settings, source, chosen.key), client=Client(chosen), says=lines)
    await _develop(Development(needs), lines, root, Reached(option=f" --endpoint {chosen.endpoint}"))


async def _at_own(options: dict[str, Any], settings: Settings, source: Path, lines: CallLines) -> None:
    settings = _own(settings, source, options)
    function = options["debugged"]
    observer = Observer(ended=lines.take, wrote=lines.wrote)
    sesame = Sesame(settings, SystemClocks(), observer, debuggable=bool(function))
    root = _root(source)
    debugged = DebuggedFunction(sesame, Wanted(function, options["debug_port"], root), lines.say) if function else None
    try:
        await sesame.start()
        port = int(sesame.endpoints.fc.rpartition(":")[2])
        await _develop(_development(sesame, options, settings, source, lines), lines, root, Reached(port), debugged)
    finally:
        if debugged is not None:
            await debugged.close()
        await sesame.stop()


def _root(source: Path) -> Path:
    return source if source.is_dir() else source.parent


def _development(
    sesame: Sesame, options: dict[str, Any], settings: Settings, source: Path, lines: CallLines
) -> Development:  # fmt: skip
    data_dir = sesame.data_dir
    keys = data_dir.credentials()
    key = server.Key(keys.access_key_id, keys.access_key_secret, f"data directory {data_dir.path}", "", keys.account_id)
    chosen = server.Server(sesame.endpoints.fc, str(data_dir.path), key, sesame.endpoints.oss)
    where = shlex.quote(str(data_dir.path))
    lines.say(
        f'Sesame is at {chosen.endpoint}, for other terminals: eval "$({output.own_name()} env --data-dir {where})"'
    )
    for notice in sesame.notices():
        lines.say(notice)
    return Development(
        Needs(
            root=_root(source),
            read=_reader(options, settings, source, key),
            client=Client(chosen),
            says=lines,
            load=sesame.load,
            keep_serving=options["keep_serving"],
            remembered=data_dir.path / REMEMBERED,
        )
    )


async def _develop(
    development: Development, lines: CallLines, root: Path, reached: Reached, debugged: DebuggedFunction | None = None
) -> None:
    """Deploys, and deploys again after each change; ends only by cancellation."""
    told: list[str] = []
    watching_told = False
    async with watching.Watcher(development.matters) as watcher:
        await watcher.watch({root})
        while True:
            if await development.deploy() and development.project is not None:
                now = how_to_call(development.project, reached)
                for line in now if now != told else ():
                    lines.say(line)
                told = now
                if debugged is not None:
                    try:
                        await debugged.after_deploy(development.project)
                    except SesameError as error:
                        lines.failed(str(error))
            if not await watcher.watch(development.folders()):
                if not watching_told:
                    lines.say(f"Watching {root}; stop with Ctrl-C.")
                    watching_told = True
                changed = development.noticeable(await watcher.changed())
                more = " …" if changed[FILES_SHOWN_MAX:] else ""
                if changed:
                    lines.say(f"changed: {', '.join(_shown(path, root) for path in changed[:FILES_SHOWN_MAX])}{more}")


def _shown(path: Path, root: Path) -> str:
    return output.harmless(str(path.relative_to(root) if path.is_relative_to(root) else path))


def how_to_call(project: Project, reached: Reached) -> list[str]:
    http = {(each.service, each.function) for each in project.triggers if each.fields["triggerType"] == "http"}
    found = [f"  {url}" for url in urls(project, reached.port)] if reached.port is not None else []
    for function in project.functions:
        if (function.service, function.name) not in http:
            found.append(f"  sesame invoke {function.label} -e '{{}}'{reached.option}")
    return found


def _reader(options: dict[str, Any], settings: Settings, source: Path, key: server.Key) -> Callable[[], Project]:
    """Returns a function that reads the project; interpreters are searched only once."""
    context = sources.Context(
        account_id=key.account_id or settings.account_id or "",
        region=settings.region,
        access_key_id=key.access_key_id,
        parameters=naming.pairs(options["parameters"], "-p"),
    )
    return GuessedOnce(source, context, wanted(options, settings)).read


def _own(settings: Settings, source: Path, options: dict[str, Any]) -> Settings:
    """Settings of the project's own Sesame: a data directory derived from the project's path, and free ports."""
    data_dir = settings.data_dir if options["data_dir"] is not None else data_dir_of(source)
    ports = {
        name: _free(settings.host, settings.resolved_port(name), wanted=options[name] is not None) for name in _PORTS
    }
    return msgspec.structs.replace(settings, data_dir=data_dir, **ports)


def _free(host: str, port: int, *, wanted: bool) -> int:
    """The port; 0, for any free one, if another program uses it and the user did not ask for it."""
    if wanted or not port:
        return port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return 0
    return port
