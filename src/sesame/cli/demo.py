"""`sesame demo`: a Sesame of its own on free ports, and the manual's functions deployed and called by aliyun-fc2.

Shows what is sent, what comes back and how long it took, and checks each answer against the manual's word.
Leaves nothing behind: data directory, server and functions are gone when it ends.
"""

import logging
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.markup import escape

from sesame.cli import output
from sesame.cli.demo_calls import CALLS, FUNCTIONS, Answer, DemoCall
from sesame.cli.demo_client import DemoClient
from sesame.cli.demo_server import demo_server
from sesame.cli.options import settle, with_settings
from sesame.model.errors import ConfigurationError
from sesame.sandbox import interpreters
from sesame.sandbox.interpreters import Interpreter

RUNTIMES = ("python2.7", "python3")
SERVICE = "demo"


@click.command()
@with_settings("interpreters", "runtimes_dir", "sandbox", "cpu")
@click.option("--strict", is_flag=True, help="Fail when a runtime's own interpreter is missing.")
def demo(strict: bool, **flags: object) -> None:
    """Deploys the manual's functions to a fresh Sesame through aliyun-fc2 and calls them."""
    # aliyun-fc2 logs every function error through the root logger; here they are shown as answers instead.
    logging.getLogger().addHandler(logging.NullHandler())
    settings = settle(flags)
    found = interpreters.discover(settings.interpreters)
    runnable = [runtime for runtime in RUNTIMES if runtime in found]
    if not runnable:
        raise ConfigurationError(
            "no interpreter was found for any runtime of the demo: "
            + "; ".join(f"{runtime}: {interpreters.how_to_get(runtime)}" for runtime in RUNTIMES)
        )
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sesame-demo-") as folder:
        options = [f"--{name.replace('_', '-')}={value}" for name, value in _passed_on(flags).items()]
        with output.busy("Starting Sesame on free ports …"), demo_server(Path(folder), options) as server:
            client = DemoClient(server.endpoints.fc, server.credentials, SERVICE)
            output.out.print(f"Sesame is ready at [bold]{server.endpoints.fc}[/], sandbox {server.endpoints.sandbox}.")
            wrong = [line for runtime in runnable for line in _show_runtime(client, found[runtime])]
    _conclude(found, wrong, time.monotonic() - began, strict=strict)


def _show_runtime(client: DemoClient, interpreter: Interpreter) -> list[str]:
    """Deploys and calls everything under one runtime; what was not as the manual says."""
    runtime = interpreter.runtime
    output.out.rule(f"{runtime}: CPython {interpreter.version}")
    if interpreter.notice:
        output.out.print(f"[yellow]{escape(interpreter.notice)}[/]")
    wrong = []
    for function in FUNCTIONS:
        took_ms = client.deploy(function, runtime)
        output.out.print(
            f"\n[bold]{function.title}[/]  [dim](deployed {client.name_of(function, runtime)}, "
            f"handler {function.handler}, in {took_ms:.0f} ms)[/]"
        )
        for call in CALLS[function.name]:
            answer = client.call(function, runtime, call.event)
            problem = call.check(answer)
            _show_call(call, answer, problem)
            if problem:
                wrong.append(f"{runtime}, {function.title}, event {call.event!r}: {problem}")
    return wrong


def _show_call(call: DemoCall, answer: Answer, problem: str) -> None:
    sent = call.event.decode() or "(empty)"
    output.out.print(f"  sent  {escape(sent)}")
    for number, line in enumerate(answer.body.decode("utf-8", "replace").splitlines() or ["(empty)"]):
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
    if problem:
        output.out.print(f"  [bold red]not as the manual says:[/] {escape(problem)}")


def _conclude(found: dict[str, Interpreter], wrong: list[str], took_s: float, *, strict: bool) -> None:
    output.out.rule("in short")
    missing = [runtime for runtime in RUNTIMES if runtime not in found]
    replaced = [runtime for runtime in RUNTIMES if runtime in found and found[runtime].substitute_for]
    calls = sum(map(len, CALLS.values()))
    ran = [runtime for runtime in RUNTIMES if runtime in found]
    output.out.print(
        f"{calls * len(ran) - len(wrong)} of {calls * len(ran)} calls under {' and '.join(ran)} came back as the "
        f"manual says, in {took_s:.1f} s."
    )
    for runtime in missing:
        output.out.print(
            f"[yellow]Did not run:[/] {runtime}, because its interpreter was not found. "
            f"Get it: {interpreters.how_to_get(runtime)}"
        )
    for runtime in replaced:
        output.out.print(
            f"[yellow]Ran in its place:[/] {runtime} on CPython {found[runtime].version}. "
            f"Get its own: {interpreters.how_to_get(runtime)}"
        )
    output.out.print(
        "\nHow to go on:\n"
        '  sesame invoke main.my_handler -e \'{"key": "value"}\'   a function in this directory, without a server\n'
        "  sesame start                                         a Sesame that stays, data in ./sesame-data\n"
        '  eval "$(sesame env)"                                 its keys and endpoints for aliyun-fc2 and other tools\n'
        f"The functions of this demo: {FUNCTIONS[0].folder.parent}"
    )
    if wrong:
        raise ConfigurationError("the demo did not come back as the manual says:\n  " + "\n  ".join(wrong))
    if strict and (missing or replaced):
        output.error(f"--strict: not every runtime ran on its own interpreter: {', '.join(missing + replaced)}")
        sys.exit(1)


def _passed_on(flags: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in flags.items() if value is not None}
