"""`sesame list` and `sesame show`: print what a server has, and everything about one service or function.

Names are in the form that every command accepts: `service/function`.
"""

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from sesame.cli import completing, naming
from sesame.cli.client import quoted
from sesame.cli.server_options import Session, at_server
from sesame.cli.versioned import ALONE, FUNCTION, SERVICE, versioned
from sesame.model.owner import stands_alone

_CODE = "code"
_PUBLISHED = ("versions", "aliases")


@click.command("list")
@click.argument("service", required=False, shell_complete=completing.services)
@click.option("--prefix", default="", help="Only services whose names start with this.")
@at_server
def list_(session: Session, service: str | None, prefix: str) -> None:
    """Lists services, their functions, functions without a service, and how each is called: triggers with their
    schedules, buckets and URLs.
    """
    session.announce("Listing")
    alone: list[dict[str, Any]] = []
    if service is None:
        found = [each["serviceName"] for each in session.client.pages(f"/services?prefix={quoted(prefix)}", "services")]
        alone = _functions(session, f"{ALONE}?fcVersion=v3&prefix={quoted(prefix)}")
    else:
        session.client.ask("GET", f"/services/{quoted(service)}")
        found = [service]
    tree = [_service(session, name) for name in found]
    session.show({"services": tree, "functions": alone}, lambda: _lines(session, tree, alone))


@click.command()
@click.argument("name", shell_complete=completing.services_and_functions)
@at_server
def show(session: Session, name: str) -> None:
    """Shows everything about a SERVICE, a SERVICE/FUNCTION[:QUALIFIER] or a FUNCTION[:QUALIFIER] without a service,
    with its triggers, versions and aliases.
    """
    session.announce(f"Showing {name}")
    plain = "/" not in name and ":" not in name
    document = _shown(session, name) if plain else _shown_function(session, naming.function_name(name))
    session.show(document, lambda: _indented(document, 0))


def _shown(session: Session, name: str) -> dict[str, Any]:
    """The document of a service, or of a function without one."""
    found = versioned(session, name)
    lists = {SERVICE: ("functions",), FUNCTION: ("triggers", "instances")}[found.kind]
    below = {each: list(session.client.pages(f"{found.path}/{each}", each)) for each in (*lists, *_PUBLISHED)}
    return {found.kind: found.document, **below}


def _shown_function(session: Session, wanted: naming.FunctionName) -> dict[str, Any]:
    """The document of a function with a qualifier or in a service."""
    if stands_alone(wanted.service):
        path = triggers = f"{ALONE}/{quoted(wanted.function)}"
        asked = f"?qualifier={quoted(wanted.qualifier)}"
    else:
        path = f"/services/{quoted(wanted.qualified_service)}/functions/{quoted(wanted.function)}"
        triggers, asked = f"/services/{quoted(wanted.service)}/functions/{quoted(wanted.function)}", ""
    return {
        "function": session.client.ask("GET", path + asked),
        "triggers": list(session.client.pages(f"{triggers}/triggers", "triggers")),
        "instances": list(session.client.pages(f"{path}/instances{asked}", "instances")),
    }


def _service(session: Session, name: str) -> dict[str, Any]:
    return {"serviceName": name, "functions": _functions(session, f"/services/{quoted(name)}/functions")}


def _functions(session: Session, path: str) -> list[dict[str, Any]]:
    """The functions in the list at this path, with their triggers."""
    parent = path.partition("?")[0]
    return [
        {
            **{key: each.get(key) for key in ("functionName", "runtime", "handler", "memorySize", "timeout")},
            "triggers": list(session.client.pages(f"{parent}/{quoted(each['functionName'])}/triggers", "triggers")),
        }
        for each in session.client.pages(path, "functions")
    ]


def _lines(session: Session, tree: list[dict[str, Any]], alone: list[dict[str, Any]]) -> Iterator[str]:
    if not tree and not alone:
        yield "No services."
    for function in alone:
        yield from _function_lines(session, function["functionName"], function)
    for service in tree:
        if not service["functions"]:
            yield f"{service['serviceName']}  (no functions)"
        for function in service["functions"]:
            yield from _function_lines(session, f"{service['serviceName']}/{function['functionName']}", function)


def _function_lines(session: Session, name: str, function: dict[str, Any]) -> Iterator[str]:
    sizes = f"{function['memorySize']} MB  {function['timeout']} s"
    yield f"{name}  {function['runtime']}  {function['handler']}  {sizes}"
    for trigger in function["triggers"]:
        yield f"  {trigger['triggerType']} {trigger['triggerName']}  {_how(session, name, trigger)}"


def _how(session: Session, name: str, trigger: dict[str, Any]) -> str:
    """Describes briefly what fires a trigger."""
    config = trigger.get("triggerConfig") or {}
    if isinstance(config, str):
        config = msgspec.json.decode(config)
    match trigger["triggerType"]:
        case "http" if "httpTrigger" in trigger:
            methods = ",".join(config.get("methods") or [])
            return f"{trigger['httpTrigger']['urlInternet']}  {config.get('authType', '')} {methods}"
        case "http":
            owner = name.replace("/", f".{trigger['qualifier']}/", 1) if trigger.get("qualifier") else name
            methods = ",".join(config.get("methods") or [])
            return f"{session.server.endpoint}/2016-08-15/proxy/{owner}/  {config.get('authType', '')} {methods}"
        case "timer":
            return f"{config.get('cronExpression', '')}{'' if config.get('enable', True) else '  (disabled)'}"
        case "oss":
            key = (config.get("filter") or {}).get("key") or {}
            bucket = str(trigger.get("sourceArn") or "").rpartition(":")[2]
            return (
                f"{bucket}/{key.get('prefix') or ''}*{key.get('suffix') or ''}  {','.join(config.get('events') or [])}"
            )
        case _:
            return str(trigger.get("sourceArn") or "")


def _indented(value: Any, depth: int) -> Iterator[str]:
    """Formats a document as lines of `key  value`, indented by level; omits links to code, which are a page long."""
    pad = "  " * depth
    numbered = ((f"{number}.", each) for number, each in enumerate(value, 1))
    for key, item in value.items() if isinstance(value, dict) else numbered:
        if key == _CODE or item in ({}, [], None, ""):
            continue
        if isinstance(item, dict | list):
            yield f"{pad}{key}"
            yield from _indented(item, depth + 1)
        else:
            yield f"{pad}{key}  {item}"
