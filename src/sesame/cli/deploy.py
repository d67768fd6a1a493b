"""`sesame deploy`, `sesame plan` and `sesame remove`: a folder, a template.yml or an s.yaml to a server and away again.

Result lines go to stdout, everything else to stderr. Any endpoint of the API is served, the cloud's included.
"""

import sys
from pathlib import Path
from typing import Any

import click

from sesame.cli import naming, output, server
from sesame.cli.client import Client
from sesame.cli.options import settle, with_settings
from sesame.deploy import sources
from sesame.deploy.apply import apply
from sesame.deploy.folder import Wanted
from sesame.deploy.plan import Plan, Step, removal
from sesame.deploy.plan import plan as plan_of
from sesame.deploy.project import Project
from sesame.model import limits
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import discover

EXIT_CHANGES = 2
_SIGNS = {"create": "+", "update": "~", "replace": "±", "delete": "-", "unchanged": "="}


def _project_options(command: Any) -> Any:
    """What says which project, and to which server."""
    for option in reversed(
        (
            click.argument("source", type=click.Path(path_type=Path), default=Path()),
            click.option("-t", "--template", type=click.Path(path_type=Path), help="The template, by another name."),
            click.option("--name", metavar="SERVICE/FUNCTION", help="Of a folder without a template."),
            click.option("--handler", help="Of a folder without a template, as main.my_handler [default: found]."),
            click.option("--runtime", type=click.Choice(limits.SANDBOXED_RUNTIMES), help="[default: the newest here]"),
            click.option("--http/--event", "http", default=None, help="What a folder's function takes."),
            click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="Of a folder's function."),
            click.option("-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Of a template."),
            click.option("--endpoint", metavar="URL", help="The server [FC_ENDPOINT; default: the data directory's]."),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        )
    ):  # fmt: skip
        command = option(command)
    return with_settings("data_dir", "region", "account_id")(command)


@click.command()
@_project_options
@click.option("-y", "--yes", is_flag=True, help="Accepted for those who are used to it; nothing is asked.")
def deploy(source: Path, **options: Any) -> None:
    """Deploys SOURCE: a folder with a template.yml or s.yaml, a template, or a folder or Python file with a handler.

    Deploying again changes what differs, and nothing else.
    """
    client, project = _open(source, options, "Deploying")
    made = plan_of(project, client)
    _report_notes(made)
    if project.errors:
        raise ConfigurationError(f"{len(project.errors)} errors in {project.source}: nothing was deployed")
    as_json = options["as_json"]
    answers = apply(made, client, (lambda step: None) if as_json else _say)
    if as_json:
        _print_json(made, answers)
        return
    for line in _next_steps(project, answers, client):
        output.note(line)


@click.command()
@_project_options
def plan(source: Path, **options: Any) -> None:
    """Shows what `sesame deploy` would change, and changes nothing. Exits with 2 where something would change."""
    client, project = _open(source, options, "Comparing")
    made = plan_of(project, client)
    _report_notes(made)
    if options["as_json"]:
        _print_json(made, {})
    else:
        for step in made.steps:
            _say(step)
    if project.errors:
        raise ConfigurationError(f"{len(project.errors)} errors in {project.source}: it cannot be deployed as it is")
    sys.exit(EXIT_CHANGES if made.changing() else 0)


@click.command()
@_project_options
@click.option("-y", "--yes", is_flag=True, help="Accepted for those who are used to it; nothing is asked.")
def remove(source: Path, **options: Any) -> None:
    """Removes what `sesame deploy` made of SOURCE. Services that have other functions stay."""
    client, project = _open(source, options, "Removing")
    made = removal(project, client)
    apply(made, client, (lambda step: None) if options["as_json"] else _say)
    if options["as_json"]:
        _print_json(made, {})
    elif not made.steps:
        output.note("Nothing of it is on the server.")


def _open(source: Path, options: dict[str, Any], doing: str) -> tuple[Client, Project]:
    settings = settle(options)
    chosen = server.choose(server.Named(settings.data_dir, options["data_dir"] is not None, options["endpoint"]))
    service, function = naming.service_and_function(options["name"]) if options["name"] else (None, None)
    context = sources.Context(
        account_id=chosen.key.account_id or settings.account_id or "",
        region=settings.region,
        access_key_id=chosen.key.access_key_id,
        parameters=naming.pairs(options["parameters"], "-p"),
        wanted=Wanted(
            service=service,
            function=function,
            handler=options["handler"],
            runtime=options["runtime"],
            http=options["http"],
            environment=naming.pairs(options["variables"], "--env"),
            runtimes=tuple(discover()),
        ),
    )
    project = sources.read(options["template"] or source, context)
    server.announce(chosen, f"{doing} {project.source}")
    return Client(chosen), project


def _say(step: Step) -> None:
    changes = f"  {'; '.join(step.changes)}" if step.changes and step.changes != ("new",) else ""
    output.out.print(f"{_SIGNS[step.action]} {step.what}{changes}", markup=False)


def _report_notes(made: Plan) -> None:
    for note in made.notes:
        text = output.harmless(f"{note.place}: {note.text}")
        if note.error:
            output.error(text)
        else:
            output.note(f"note: {text}")


def _print_json(made: Plan, answers: dict[str, Any]) -> None:
    document = {
        "steps": [
            {"action": step.action, "what": step.what, "changes": step.changes, "answer": answers.get(step.what)}
            for step in made.steps
        ],
        "notes": [{"place": str(note.place), "text": note.text, "error": note.error} for note in made.notes],
    }
    output.json_document(document)


def _next_steps(project: Project, answers: dict[str, Any], client: Client) -> list[str]:
    """How to call what was deployed: URLs of HTTP triggers, and the command for an event."""
    lines: list[str] = []
    with_http = set()
    for trigger in project.triggers:
        if trigger.fields["triggerType"] == "http":
            with_http.add((trigger.service, trigger.function))
            lines.append(f"{client.endpoint}/2016-08-15/proxy/{trigger.service}/{trigger.function}/")
    for function in project.functions:
        if (function.service, function.name) not in with_http:
            lines.append(f"sesame invoke {function.service}/{function.name} -e '{{}}'")
    return [f"Call it: {line}" for line in lines[:5]]
