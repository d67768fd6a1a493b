"""`sesame demo`: a Sesame of its own on free ports, and the manual's functions deployed and called by aliyun-fc2.

Shows each event, its answer and how long the call took, and checks each answer against the manual.
Removes its data directory and stops its server when it ends.
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
from sesame.cli.demo.calls import BUCKET, CALLS, FUNCTIONS, ROLES_TOML, Answer, DemoCall, DemoFunction, oss_code
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
SHOWN_CHARS = 360


class Stage(msgspec.Struct, frozen=True):
    client: DemoClient
    bucket: DemoBucket


@click.command()
@with_settings("interpreters", "runtimes_dir", "sandbox", "cpu")
@click.option("--strict", is_flag=True, help="Fail when a runtime's own interpreter is missing.")
def demo(strict: bool, **flags: object) -> None:
    """Deploys the manual's functions to a fresh Sesame through aliyun-fc2 and calls them."""
    require_sdk()
    # aliyun-fc2 logs every function error through the root logger; here they are shown as answers instead.
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
            wrong = [line for runtime in plan for line in _show_runtime(stage, known.found[runtime], plan[runtime])]
    _show_end(plan, wrong, time.monotonic() - began)
    undone = _show_undone(plan, known)
    _show_how_to_go_on()
    if wrong:
        raise ConfigurationError("the demo's answers differ from the manual:\n  " + "\n  ".join(wrong))
    if strict and undone:
        output.error(f"--strict: not every function ran on its runtime's own interpreter: {', '.join(undone)}")
        sys.exit(1)


def _functions_for(runtime: str, known: Runtimes) -> tuple[DemoFunction, ...]:
    """All functions; if the runtime's packages are not installed, only those that import none of them."""
    installed = known.packages.manifest(runtime) is not None
    return tuple(function for function in FUNCTIONS if installed or not function.needs_packages)


def _show_runtime(stage: Stage, interpreter: Interpreter, functions: Sequence[DemoFunction]) -> list[str]:
    """Deploys and calls every function under one runtime; returns a line for each answer unlike the manual's."""
    client, bucket, runtime = stage.client, stage.bucket, interpreter.runtime
    output.out.rule(f"{runtime}: CPython {interpreter.version}")
    if interpreter.notice:
        output.out.print(f"[yellow]{escape(interpreter.notice)}[/]")
    wrong = []
    places = {"oss": bucket.endpoint, "bucket": bucket.name, "runtime": runtime}
    for function in functions:
        took_ms = client.deploy(function, runtime)
        output.out.print(
            f"\n[bold]{function.title}[/]  [dim](deployed {client.name_of(function, runtime)}, "
            f"handler {function.handler}, in {took_ms:.0f} ms)[/]"
        )
        for call in CALLS[function.name]:
            event = call.event_at(places)
            answer = client.call(function, runtime, event)
            _show_call(call, event, answer)
            if problem := call.check(answer) or _show_object(call, event, answer, bucket):
                output.out.print(f"  [bold red]not as the manual says:[/] {escape(problem)}")
                wrong.append(f"{runtime}, {function.title}, event {event!r}: {problem}")
    return wrong


def _show_call(call: DemoCall, event: bytes, answer: Answer) -> None:
    sent = event.decode() or "(empty)"
    output.out.print(f"  sent  {escape(sent)}")
    for number, line in enumerate(answer.body.decode("utf-8", "replace").splitlines() or ["(empty)"]):
        line = line if len(line) <= SHOWN_CHARS else f"{line[:SHOWN_CHARS]} … ({len(line) - SHOWN_CHARS} more)"
        label = ("error " if answer.failed else "got   ") if number == 0 else "      "
        output.out.print(f"  {label}{escape(line)}", style="yellow" if answer.failed else "green")
    if call.shows_log:
        for line in answer.log.splitlines():
            output.out.print(f"  log   [dim]{escape(line)}[/]")
    output.out.print(
        f"  time  {call.temperature} {answer.round_trip_ms:.1f} ms for the caller"
        + (f", {answer.duration_ms} ms in the function" if answer.duration_ms else "")
        + f"  [dim]request {answer.request_id}[/]"
    )


def _show_object(call: DemoCall, event: bytes, answer: Answer, bucket: DemoBucket) -> str:
    """Reads the call's object from OSS with the account's own key; returns what is wrong with it, or ""."""
    if not call.leaves:
        return ""
    asked = json.loads(event)
    key = asked["objectName"]
    content = bucket.read(key)
    if code := oss_code(answer):
        output.out.print(f"  oss   refused it with {code}", style="cyan")
    seen = "there is no such object" if content is None else repr(content)
    output.out.print(f"  oss   {escape(f'{bucket.name}/{key}, read with the account key: {seen}')}", style="cyan")
    expected = asked["message"] if call.leaves == "object" else None
    return "" if content == expected else f"expected {expected!r} in {bucket.name}/{key}, found {content!r}"


def _show_end(plan: Mapping[str, Sequence[DemoFunction]], wrong: list[str], took_s: float) -> None:
    output.out.rule("in short")
    calls = sum(len(CALLS[function.name]) for functions in plan.values() for function in functions)
    runtimes = " and ".join(plan)
    output.out.print(
        f"{calls - len(wrong)} of {calls} calls under {runtimes} came back as the manual says, in {took_s:.1f} s."
    )


def _show_undone(plan: Mapping[str, Sequence[DemoFunction]], known: Runtimes) -> list[str]:
    """Prints what did not run or ran under another interpreter, and how to install what was missing.

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
    """The demo's settings as flags for its server, which reads neither the caller's environment nor `sesame.toml`."""
    given = {
        "interpreters": ",".join(f"{runtime}={path}" for runtime, path in settings.interpreters.items()),
        "runtimes-dir": settings.resolved_runtimes_dir().absolute(),
        "sandbox": settings.sandbox,
        "cpu": settings.cpu,
    }
    return [f"--{name}={value}" for name, value in given.items() if value]
