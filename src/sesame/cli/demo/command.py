"""`sesame demo`: starts a separate Sesame on free ports, and deploys and calls the manual's functions with aliyun-fc2.

Compares each answer with the manual and shows each call in one line; `-v` and failures show every detail.
At the end it stops its server and removes its data directory.
"""

import json
import logging
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec
from rich.markup import escape

from sesame.cli import output
from sesame.cli.demo import show
from sesame.cli.demo.calls import BUCKET, CALLS, FUNCTIONS, ROLES_TOML, DemoCall, DemoFunction
from sesame.cli.demo.client import DemoClient, require_sdk
from sesame.cli.demo.objects import DemoBucket
from sesame.cli.demo.server import demo_server
from sesame.cli.options import settle, with_settings
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes import interpreters
from sesame.sandbox.runtimes.interpreters import Interpreter
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.settings import Settings

RUNTIMES = ("python2.7", "python3")
SERVICE = "demo"


class Stage(msgspec.Struct, frozen=True):
    client: DemoClient
    bucket: DemoBucket


@click.command()
@with_settings("interpreters", "runtimes_dir", "sandbox", "cpu")
@click.option("-v", "--verbose", is_flag=True, help="Show events, answers, logs and times in full.")
@click.option("--strict", is_flag=True, help="Fail when a runtime's own interpreter is missing.")
def demo(strict: bool, verbose: bool, **flags: object) -> None:
    """Deploys the manual's functions to a fresh Sesame through aliyun-fc2 and calls them."""
    require_sdk()
    # aliyun-fc2 logs every function error through the root logger; the demo shows them as answers instead.
    logging.getLogger().addHandler(logging.NullHandler())
    settings = settle(flags)
    known = Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir(), RUNTIMES)
    plan = {runtime: _functions_for(runtime, known) for runtime in RUNTIMES if runtime in known.found}
    if not plan:
        raise ConfigurationError(
            "no interpreter was found for any runtime of the demo: "
            + "; ".join(f"{runtime}: {interpreters.how_to_get(runtime)}" for runtime in RUNTIMES)
        )
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sesame-demo-") as folder:
        config = Path(folder) / "sesame.toml"
        config.write_text(ROLES_TOML)
        options = [f"--config={config}", *_options(settings)]
        with output.busy("Starting Sesame on free ports …"), demo_server(Path(folder), options) as server:
            client = DemoClient(server.endpoints.fc, server.credentials, SERVICE)
            bucket = DemoBucket(server.endpoints.oss, server.credentials, BUCKET)
            output.out.print(
                f"Sesame is ready at [bold]{server.endpoints.fc}[/], OSS at [bold]{server.endpoints.oss}[/], "
                f"sandbox {server.endpoints.sandbox}."
            )
            stage = Stage(client, bucket)
            wrong = [
                line
                for runtime in plan
                for line in _show_runtime(stage, known.found[runtime], plan[runtime], details=verbose)
            ]
    _show_end(plan, wrong, time.monotonic() - began)
    undone = _show_undone(plan, known)
    _show_how_to_go_on()
    if wrong:
        raise ConfigurationError("the demo's answers differ from the manual:\n  " + "\n  ".join(wrong))
    if strict and undone:
        output.error(f"--strict: not every function ran on its runtime's own interpreter: {', '.join(undone)}")
        sys.exit(1)


def _functions_for(runtime: str, known: Runtimes) -> tuple[DemoFunction, ...]:
    """All functions; without the runtime's packages, only those that import none of them."""
    installed = known.packages.manifest(runtime) is not None
    return tuple(function for function in FUNCTIONS if installed or not function.needs_packages)


def _show_runtime(
    stage: Stage, interpreter: Interpreter, functions: Sequence[DemoFunction], *, details: bool
) -> list[str]:
    """Deploys and calls every function under one runtime; returns a line for each answer unlike the manual's."""
    client, bucket, runtime = stage.client, stage.bucket, interpreter.runtime
    output.out.rule(f"{runtime}: CPython {interpreter.version}")
    if interpreter.notice:
        output.out.print(f"[yellow]{escape(interpreter.notice)}[/]")
    wrong = []
    places = {"oss": bucket.endpoint, "bucket": bucket.name, "runtime": runtime}
    for function in functions:
        took_ms = client.deploy(function, runtime)
        if details:
            show.deployed(function, client.name_of(function, runtime), took_ms)
        for call in CALLS[function.name]:
            event = call.event_at(places)
            answer = client.call(function, runtime, event)
            stored, problem = _stored(call, event, bucket)
            problem = call.check(answer) or problem
            show.call(
                show.Shown(
                    function=function, call=call, event=event, answer=answer, stored=stored, problem=problem
                ),
                details=details,
            )  # fmt: skip
            if problem:
                wrong.append(f"{runtime}, {function.title}, event {event!r}: {problem}")
    return wrong


def _stored(call: DemoCall, event: bytes, bucket: DemoBucket) -> tuple[str, str]:
    """Reads the event's object with the account's own key; returns its content and what is wrong with it."""
    if not call.leaves:
        return "", ""
    asked = json.loads(event)
    key = asked["objectName"]
    content = bucket.read(key)
    seen = "there is no such object" if content is None else repr(content)
    expected = asked["message"] if call.leaves == "object" else None
    problem = "" if content == expected else f"expected {expected!r} in {bucket.name}/{key}, found {content!r}"
    return f"{bucket.name}/{key}, read with the account key: {seen}", problem


def _show_end(plan: Mapping[str, Sequence[DemoFunction]], wrong: list[str], took_s: float) -> None:
    output.out.rule("in short")
    calls = sum(len(CALLS[function.name]) for functions in plan.values() for function in functions)
    runtimes = " and ".join(plan)
    output.out.print(
        f"{calls - len(wrong)} of {calls} calls under {runtimes} came back as the manual says, in {took_s:.1f} s."
    )


def _show_undone(plan: Mapping[str, Sequence[DemoFunction]], known: Runtimes) -> list[str]:
    """Prints what did not run or ran under another interpreter, and how to install what is missing.

    Returns the runtimes concerned.
    """
    undone = []
    for runtime in RUNTIMES:
        interpreter = known.found.get(runtime)
        if interpreter is None:
            said = f"{runtime}, because its interpreter was not found. Get it: {interpreters.how_to_get(runtime)}"
            output.out.print(f"[yellow]Did not run:[/] {escape(said)}")
        elif len(plan[runtime]) < len(FUNCTIONS):
            said = f"the uploads under {runtime}, because its packages are not installed. Install them: "
            output.out.print(f"[yellow]Did not run:[/] {escape(said)}sesame runtimes install {runtime}")
        if interpreter and interpreter.substitute_for:
            said = f"{runtime} on CPython {interpreter.version}. Get its own: {interpreters.how_to_get(runtime)}"
            output.out.print(f"[yellow]Ran in its place:[/] {escape(said)}")
        if interpreter is None or interpreter.substitute_for or len(plan[runtime]) < len(FUNCTIONS):
            undone.append(runtime)
    return undone


def _show_how_to_go_on() -> None:
    sesame = output.own_name()
    steps = (
        (
            f'{sesame} invoke main.my_handler -e \'{{"key": "value"}}\'',
            "a function in this directory, without a server",
        ),
        (f"{sesame} start", "a Sesame that stays, data in ./sesame-data"),
        (f'eval "$({sesame} env)"', "its keys and endpoints for aliyun-fc2 and other tools"),
    )
    width = max(len(command) for command, _meaning in steps)
    output.out.print(
        "\nHow to go on:\n"
        + "".join(f"  {escape(command):<{width}}   {meaning}\n" for command, meaning in steps)
        + f"The functions of this demo: {FUNCTIONS[0].folder.parent}"
    )


def _options(settings: Settings) -> list[str]:
    """The demo's settings as flags for its server, which ignores the caller's environment and `sesame.toml`."""
    given = {
        "interpreters": ",".join(f"{runtime}={path}" for runtime, path in settings.interpreters.items()),
        "runtimes-dir": settings.resolved_runtimes_dir().absolute(),
        "sandbox": settings.sandbox,
        "cpu": settings.cpu,
    }
    return [f"--{name}={value}" for name, value in given.items() if value]
