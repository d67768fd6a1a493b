"""`sesame deploy`, `sesame plan` and `sesame remove`: deploy a folder or a template to a server, and remove it.

Results go to stdout, everything else to stderr. Works with any endpoint of the API, including the cloud's.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from sesame.cli import naming, output
from sesame.cli.build import build_project
from sesame.cli.server_options import Session, at_server_with
from sesame.cli.wanted import wanted, with_project_options
from sesame.deploy import sources
from sesame.deploy.apply import apply
from sesame.deploy.local_url import local_url
from sesame.deploy.plan import Plan, Step, removal
from sesame.deploy.plan import plan as plan_of
from sesame.deploy.project import Note, Project
from sesame.model.errors import ConfigurationError
from sesame.model.owner import stands_alone
from sesame.settings import TABLE

EXIT_CHANGES = 2
# Addresses of this machine; only a Sesame on it serves names below `localhost`.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HTTP_PORT = 80
SHOWN_CALLS = 6
# Options that require a folder without a template.
_FOLDER_OPTIONS = {
    "name": "--name",
    "handler": "--handler",
    "runtime": "--runtime",
    "http": "--http or --event",
    "variables": "--env",
}
_SIGNS = {"create": "+", "update": "~", "replace": "±", "delete": "-", "unchanged": "="}


def _project_options(command: Any) -> Any:
    """Adds the options that select the project and the server."""
    command = with_project_options(at_server_with("region", "account_id")(command))
    template = click.option(
        "-t", "--template", type=click.Path(path_type=Path), help="Template with another file name."
    )
    return click.argument("source", type=click.Path(path_type=Path), default=Path())(template(command))


_build_option = click.option(
    "--build/--no-build", "wanted_build", default=True, help="Install requirements.txt beside the code [default: yes]."
)


@click.command()
@_project_options
@_build_option
def deploy(session: Session, **options: Any) -> None:
    """Deploys SOURCE: a folder with a template.yml, s.yaml or serverless.yml, a template,
    or a folder or Python file with a handler.

    Deploying again changes only what differs. If a requirements.txt names packages that are not in the folder, they are
    installed first (`sesame build`).
    """
    project = _built(_read(session, options, "Deploying"), session, options)
    if project.errors:
        _report_notes(project.notes)
        raise ConfigurationError(f"{_errors(project)}: nothing was deployed")
    made = plan_of(project, session.client)
    _report_notes(made.notes)
    answers = apply(made, session.client, _say(session))
    session.show(_document(made, answers), lambda: iter(()))
    _refuse_nothing(made, project)
    if not session.as_json:
        for line in _next_steps(project, session.server.endpoint):
            output.note(line)


@click.command()
@_project_options
@_build_option
def plan(session: Session, **options: Any) -> None:
    """Shows what `sesame deploy` would change, without changing it. Exits with 2 if anything would change."""
    project = _built(_read(session, options, "Comparing"), session, options)
    made = plan_of(project, session.client)
    _report_notes(made.notes)
    session.show(_document(made, {}), lambda: map(_line, made.steps))
    if project.errors:
        raise ConfigurationError(f"{_errors(project)}: it cannot be deployed")
    _refuse_nothing(made, project)
    sys.exit(EXIT_CHANGES if made.changing() else 0)


@click.command()
@_project_options
def remove(session: Session, **options: Any) -> None:
    """Removes what `sesame deploy` created for SOURCE. Services that have other functions stay."""
    project = _read(session, options, "Removing")
    made = removal(project, session.client)
    apply(made, session.client, _say(session))
    session.show(_document(made, {}), lambda: iter(()))
    if not made.steps and not session.as_json:
        output.note("Nothing of it is on the server.")


def _read(session: Session, options: dict[str, Any], doing: str) -> Project:
    key = session.server.key
    context = sources.Context(
        account_id=key.account_id or session.settings.account_id or "",
        region=_region(session),
        access_key_id=key.access_key_id,
        parameters=naming.pairs(options["parameters"], "-p"),
        wanted=lambda: wanted(options, session.settings),
        folder_options=[flag for name, flag in _FOLDER_OPTIONS.items() if options[name] not in (None, ())],
    )
    project = sources.read(options["template"] or options["source"], context)
    session.announce(f"{doing} {project.source}")
    return project


def _built(project: Project, session: Session, options: dict[str, Any]) -> Project:
    """The project with its functions' requirements installed, unless that is switched off."""
    if not options["wanted_build"] or project.errors:
        return project
    try:
        return build_project(project, session.settings)[0]
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}\n    --no-build deploys the code without building it") from error


def _region(session: Session) -> str:
    """The region that was set; otherwise the server's, which appears in ARNs of its buckets and functions."""
    given = session.settings.region
    return session.server.region or given if given == TABLE["region"].default else given


def _say(session: Session) -> Callable[[Step], None]:
    """Prints each step when it is done, except if one JSON document is printed at the end."""
    return lambda step: None if session.as_json else output.out.print(_line(step), markup=False)


def _line(step: Step) -> str:
    changes = f"  {'; '.join(step.changes)}" if step.changes and step.changes != ("new",) else ""
    return f"{_SIGNS[step.action]} {step.what}{changes}"


def _errors(project: Project) -> str:
    count = len(project.errors)
    return f"{count} error{'s' if count > 1 else ''} in {project.source}"


def _report_notes(notes: Iterable[Note]) -> None:
    # Once, where several units of a template name the same part of it.
    for note in dict.fromkeys(notes):
        text = output.harmless(f"{note.place}: {note.text}")
        if note.error:
            output.error(text)
        else:
            output.note(f"note: {text}")


def _refuse_nothing(made: Plan, project: Project) -> None:
    """So that no script takes it for a deployment where a template names nothing but components of others."""
    if not made.steps:
        raise ConfigurationError(
            f"there is nothing to deploy in {project.source}: expected a service, function or domain; the notes say "
            "what was left out"
        )


def _document(made: Plan, answers: dict[str, Any]) -> dict[str, Any]:
    return {
        "steps": [
            {"action": step.action, "what": step.what, "changes": step.changes, "answer": answers.get(step.what)}
            for step in made.steps
        ],
        "notes": [{"place": str(note.place), "text": note.text, "error": note.error} for note in made.notes],
    }


def _next_steps(project: Project, endpoint: str) -> list[str]:
    """How to call what was deployed: URLs of HTTP triggers, and the command for events."""
    address = urlsplit(endpoint)
    local = address.scheme == "http" and address.hostname in LOOPBACK
    lines: list[str] = []
    with_http = set()
    for trigger in project.triggers:
        if trigger.fields["triggerType"] == "http":
            with_http.add((trigger.service, trigger.function))
            if local and (url := local_url(trigger, address.port or HTTP_PORT)):
                lines.append(url)
            if not stands_alone(trigger.service):
                lines.append(f"{endpoint}/2016-08-15/proxy/{trigger.service}/{trigger.function}/")
    for function in project.functions:
        if (function.service, function.name) in with_http:
            continue
        if stands_alone(function.service) and (domain := _domain_of(project, function.name)):
            lines.append(f"curl -H 'Host: {domain}' {endpoint}/")
        else:
            lines.append(f"sesame invoke {function.label} -e '{{}}'")
    return [f"Call it: {line}" for line in lines[:SHOWN_CALLS]]


def _domain_of(project: Project, function: str) -> str | None:
    """The name of a domain that leads to a function without a service, which needs no HTTP trigger for it."""
    for domain in project.domains:
        routes = (domain.fields.get("routeConfig") or {}).get("routes") or []
        if any(each.get("functionName") == function for each in routes):
            return domain.name
    return None
