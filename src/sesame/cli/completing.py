"""Completes command lines for a shell; names of functions, services and triggers come from the server.

Called by `cli.main` when a shell asks (click's protocol), and by click for the arguments of commands. Prints nothing
else, and returns no names if the server does not answer in time: output would appear in the middle of the line.
"""

import os
import threading
from collections.abc import Callable, Iterator

import click
from click.shell_completion import CompletionItem, shell_complete

from sesame.model.owner import trigger_label

PROGRAM = "sesame"
COMPLETE_VARIABLE = "_SESAME_COMPLETE"
# For all requests of one completion.
ANSWER_WITHIN_S = 1.0
SERVICES_MAX = 100

Ask = Callable[[str, str], Iterator[dict[str, str]]]


def complete(command: click.Command) -> int:
    """Answers the shell on stdout; returns the exit code."""
    try:
        return shell_complete(command, {}, PROGRAM, COMPLETE_VARIABLE, os.environ[COMPLETE_VARIABLE])
    except Exception:  # noqa: BLE001 (an error cannot be reported anywhere)
        return 1


def services(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of services."""
    return _found(context, lambda ask: _services(ask, incomplete))


def services_and_alone(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of services, and of functions without a service."""

    def names(ask: Ask) -> Iterator[str]:
        yield from _services(ask, incomplete)
        yield from _alone(ask, incomplete)

    return _found(context, names)


def functions(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of functions: `service/function`, or the name alone without a service."""
    return _found(context, lambda ask: _functions(ask, incomplete))


def services_and_functions(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of services, and of functions as `service/function`."""

    def names(ask: Ask) -> Iterator[str]:
        if "/" not in incomplete:
            yield from _services(ask, incomplete)
        yield from _functions(ask, incomplete)

    return _found(context, names)


def triggers(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of triggers: `service/function/trigger`, or `function/trigger` without a service."""

    def names(ask: Ask) -> Iterator[str]:
        for each in ask("/sesame/triggers", "triggers"):
            yield trigger_label(f"{each['serviceName']}/{each['functionName']}", each["triggerName"])

    return _found(context, names, incomplete)


def _services(ask: Ask, prefix: str) -> Iterator[str]:
    for each in ask(f"/services?prefix={_quoted(prefix)}", "services"):
        yield each["serviceName"]


def _functions(ask: Ask, incomplete: str) -> Iterator[str]:
    service, slash, prefix = incomplete.partition("/")
    if not slash:
        yield from _alone(ask, incomplete)
    owners = iter([service]) if slash else _services(ask, service)
    for _number, owner in zip(range(SERVICES_MAX), owners, strict=False):
        for each in ask(f"/services/{_quoted(owner)}/functions?prefix={_quoted(prefix)}", "functions"):
            yield f"{owner}/{each['functionName']}"


def _alone(ask: Ask, prefix: str) -> Iterator[str]:
    for each in ask(f"/2023-03-30/functions?fcVersion=v3&prefix={_quoted(prefix)}", "functions"):
        yield each["functionName"]


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _found(context: click.Context, names: Callable[[Ask], Iterator[str]], incomplete: str = "") -> list[CompletionItem]:
    """The names received before the time limit."""
    found: list[str] = []

    def look() -> None:
        try:
            for name in names(_asking(context)):
                if name.startswith(incomplete):
                    found.append(name)
        except Exception:  # noqa: BLE001 (there is no place where it could be told)
            return

    # A thread limits the total time, including name resolution; as a daemon it does not delay the exit.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(ANSWER_WITHIN_S)
    return [CompletionItem(name) for name in list(found)]


def _asking(context: click.Context) -> Ask:
    """Returns a function that asks the server chosen by the command line, as the command itself would."""
    # Imported late: completing options and commands, which must be fast, does not need it.
    from sesame.cli import server
    from sesame.cli.client import Client
    from sesame.cli.options import settle

    given = context.params
    data_dir = settle({"data_dir": given.get("data_dir"), "config": given.get("config")}).data_dir
    named = server.Named(data_dir, given.get("data_dir") is not None, given.get("endpoint"))
    return Client(server.choose(named)).pages
