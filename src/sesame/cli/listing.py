"""`sesame list` and `sesame show`: what a server has, and everything of one service or function.

Names are written as every command takes them: `service/function`.
"""

from collections.abc import Iterator
from typing import Any

import click

from sesame.cli import completing, naming
from sesame.cli.client import quoted
from sesame.cli.server_options import Session, at_server

_CODE = "code"


@click.command("list")
@click.argument("service", required=False, shell_complete=completing.services)
@click.option("--prefix", default="", help="Only services whose name begins so.")
@at_server
def list_(session: Session, service: str | None, prefix: str) -> None:
    """Lists services, their functions, and how each is called: triggers with their schedules, buckets and URLs."""
    session.announce("Listing")
    if service is None:
        found = [each["serviceName"] for each in session.client.pages(f"/services?prefix={quoted(prefix)}", "services")]
    else:
        session.client.ask("GET", f"/services/{quoted(service)}")
        found = [service]
    tree = [_service(session, name) for name in found]
    session.show({"services": tree}, lambda: _lines(session, tree))


@click.command()
@click.argument("name", shell_complete=completing.services_and_functions)
@at_server
def show(session: Session, name: str) -> None:
    """Shows all of a SERVICE or of a SERVICE/FUNCTION[:QUALIFIER], with its triggers, versions and aliases."""
    session.announce(f"Showing {name}")
    if "/" not in name:
        path = f"/services/{quoted(name)}"
        document = {
            "service": session.client.ask("GET", path),
            "functions": list(session.client.pages(f"{path}/functions", "functions")),
            "versions": list(session.client.pages(f"{path}/versions", "versions")),
            "aliases": list(session.client.pages(f"{path}/aliases", "aliases")),
        }
    else:
        wanted = naming.function_name(name)
        path = f"/services/{quoted(wanted.qualified_service)}/functions/{quoted(wanted.function)}"
        triggers = f"/services/{quoted(wanted.service)}/functions/{quoted(wanted.function)}/triggers"
        document = {
            "function": session.client.ask("GET", path),
            "triggers": list(session.client.pages(triggers, "triggers")),
            "instances": list(session.client.pages(f"{path}/instances", "instances")),
        }
    session.show(document, lambda: _indented(document, 0))


def _service(session: Session, name: str) -> dict[str, Any]:
    path = f"/services/{quoted(name)}/functions"
    return {
        "serviceName": name,
        "functions": [
            {
                **{key: each.get(key) for key in ("functionName", "runtime", "handler", "memorySize", "timeout")},
                "triggers": list(session.client.pages(f"{path}/{quoted(each['functionName'])}/triggers", "triggers")),
            }
            for each in session.client.pages(path, "functions")
        ],
    }


def _lines(session: Session, tree: list[dict[str, Any]]) -> Iterator[str]:
    if not tree:
        yield "No services."
    for service in tree:
        if not service["functions"]:
            yield f"{service['serviceName']}  (no functions)"
        for function in service["functions"]:
            name = f"{service['serviceName']}/{function['functionName']}"
            sizes = f"{function['memorySize']} MB  {function['timeout']} s"
            yield f"{name}  {function['runtime']}  {function['handler']}  {sizes}"
            for trigger in function["triggers"]:
                yield f"  {trigger['triggerType']} {trigger['triggerName']}  {_how(session, name, trigger)}"


def _how(session: Session, name: str, trigger: dict[str, Any]) -> str:
    """What raises a trigger, in one phrase."""
    config = trigger.get("triggerConfig") or {}
    match trigger["triggerType"]:
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
    """A document as lines of `key  value`, two spaces a level; a link to code is left out, as it is a page long."""
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
