"""Writes the reference pages of the documentation from the sources: commands, settings, errors, limits.

Called by `scripts/docs_hooks.py` at each build of the site, so that the pages are never older than the code.
"""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from sesame import settings
from sesame.cli.main import COMMANDS, cli
from sesame.fc import wording
from sesame.model import limits
from sesame.oss import errors as oss_errors

ROOT = Path(__file__).parents[1]

# What the limits of `model.limits` mean. Numbers that have no row here are shown by their names,
# rows without a number are left out.
LIMITS: tuple[tuple[str, str, str], ...] = (
    ("MEMORY_MB_MIN", "MB", "least memory of a function"),
    ("MEMORY_MB_MAX", "MB", "most memory of a function"),
    ("MEMORY_MB_STEP", "MB", "step between memory sizes"),
    ("MEMORY_MB_DEFAULT", "MB", "memory of a function that names none"),
    ("CPU_MIN", "vCPU", "least processor share of a function"),
    ("CPU_MAX", "vCPU", "most processor share of a function"),
    ("CPU_STEP", "vCPU", "step between processor shares"),
    ("DISK_MB_CHOICES", "MB", "sizes of the disk of an instance"),
    ("DISK_MB_DEFAULT", "MB", "disk of a function that names none"),
    ("TIMEOUT_S_MIN", "s", "least time limit of a call"),
    ("TIMEOUT_S_MAX", "s", "most time limit of a call"),
    ("TIMEOUT_S_DEFAULT", "s", "time limit of a function that names none"),
    ("INITIALIZATION_TIMEOUT_S_MIN", "s", "least time limit of an initializer"),
    ("INITIALIZATION_TIMEOUT_S_MAX", "s", "most time limit of an initializer"),
    ("INITIALIZATION_TIMEOUT_S_DEFAULT", "s", "time limit of an initializer that names none"),
    ("LIFECYCLE_HOOK_TIMEOUT_S_MAX", "s", "most time limit of a PreFreeze or PreStop hook"),
    ("INSTANCE_CONCURRENCY_MIN", "", "least calls at a time in one instance"),
    ("INSTANCE_CONCURRENCY_MAX", "", "most calls at a time in one instance"),
    ("INSTANCE_CONCURRENCY_DEFAULT", "", "calls at a time in an instance of a function that names none"),
    ("PROVISION_TARGET_MAX", "", "most provisioned instances of a function"),
    ("ON_DEMAND_INSTANCES_MAX", "", "most on-demand instances that a function may ask for"),
    ("PROCESSES", "", "processes and threads of an instance"),
    ("FILE_DESCRIPTORS", "", "open files of a process of an instance"),
    ("SYNC_PAYLOAD_BYTES", "bytes", "event of a synchronous call"),
    ("ASYNC_PAYLOAD_BYTES", "bytes", "event of an asynchronous call"),
    ("RESPONSE_PAYLOAD_BYTES", "bytes", "answer of a function"),
    ("CODE_ZIP_BYTES", "bytes", "code package or layer, packed"),
    ("CODE_UNPACKED_BYTES", "bytes", "code package or layer, unpacked"),
    ("CODE_ENTRIES", "", "files and folders in a code package"),
    ("LAYER_ARN_CHARS", "characters", "ARN of a layer"),
    ("DOCUMENT_BYTES", "bytes", "request to a management operation, without code"),
    ("MANAGEMENT_BODY_BYTES", "bytes", "request to a management operation, with code"),
    ("KEPT_SETTINGS_BYTES", "bytes", "settings of other runtimes, which are kept and not used"),
    ("ENVIRONMENT_TOTAL_BYTES", "bytes", "names and values of a function's environment variables"),
    ("DESCRIPTION_CHARS", "characters", "description"),
    ("HANDLER_CHARS", "characters", "name of a handler"),
    ("ASYNC_RETRIES_MAX", "", "most retries of an asynchronous call"),
    ("ASYNC_RETRIES_DEFAULT", "", "retries of an asynchronous call of a function that names none"),
    ("ASYNC_EVENT_AGE_S_MAX", "s", "most age of an asynchronous call"),
    ("ASYNC_EVENT_AGE_S_DEFAULT", "s", "age of an asynchronous call of a function that names none"),
    ("ASYNC_DELAY_S_MAX", "s", "most delay of an asynchronous call"),
    ("LOG_TAIL_BYTES", "bytes", "end of the log that an answer carries"),
    ("LIST_LIMIT_DEFAULT", "", "items of a list page that names no limit"),
    ("LIST_LIMIT_MAX", "", "most items of a list page"),
    ("CLOCK_SKEW_S", "s", "difference between the time of a signed request and the server's"),
    ("PORT_MIN", "", "least port of a custom runtime"),
    ("PORT_MAX", "", "most port of a custom runtime"),
    ("NAS_ID_MIN", "", "least user or group id of a file system"),
    ("NAS_ID_MAX", "", "most user or group id of a file system"),
)
# Numbers of `model.limits` that are only parts of others.
PARTS = frozenset({"MIB"})


def pages() -> dict[str, str]:
    """Path below docs/ and text of each page."""
    return {
        "reference/cli.md": commands_page(),
        "reference/settings.md": settings_page(),
        "reference/errors.md": errors_page(),
        "reference/limits.md": limits_page(),
    }


def commands_page() -> str:
    parts = [
        "# Commands\n\nEvery command and option, as `--help` shows them. [Commands for every day](../commands.md) says "
        "how they go together.\n"
    ]
    root = click.Context(cli, info_name="sesame")
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        parts += _command(command, click.Context(command, info_name=name, parent=root), 2)
    return "\n".join(parts)


def _command(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    yield f"{'#' * level} `{context.command_path}`\n"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    yield inspect.cleandoc(command.help or "").replace("\b\n", "") + "\n"
    options = [each for each in command.get_params(context) if isinstance(each, click.Option) and not each.hidden]
    if rows := [each.get_help_record(context) for each in options if each.name != "help"]:
        yield "| option | meaning |\n|---|---|"
        for row in rows:
            assert row is not None
            yield f"| `{_cell(row[0])}` | {_cell(row[1])} |"
        yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _command(below, click.Context(below, info_name=name, parent=context), level + 1)


def settings_page() -> str:
    return (
        "# Settings\n\nGiven as a flag of `sesame start`, as an environment variable, or as a key of `sesame.toml`; a "
        "flag outweighs the environment, the environment the file. [Settings](../settings.md) says more.\n\n"
        + settings.as_markdown()
    )


def errors_page() -> str:
    fc = "\n".join(f"| `{code}` | {status} | {_cell(text)} |" for code, status, text in sorted(fc_codes()))
    oss = "\n".join(
        f"| `{code}` | {status} | {_cell(text)} | `{ec}` |"
        for code, (status, text, ec) in sorted(oss_errors._CATALOGUE.items())
    )
    return (
        '# Errors\n\nAn error of the Function Compute endpoint is `{"ErrorCode": …, "ErrorMessage": …}` with the '
        "request id in the header `X-Fc-Request-Id`. A failure of a function itself is no error of the API: it is "
        "answered with 200 and the header `X-Fc-Error-Type`.\n\n## Function Compute\n\n"
        "| code | status | message |\n|---|---|---|\n"
        f"{fc}\n\n## Object storage\n\n| code | status | message | EC |\n|---|---|---|---|\n{oss}\n"
    )


def fc_codes() -> set[tuple[str, int, str]]:
    """(code, status, message) of every refusal in the sources of the endpoint; `…` stands for what differs."""
    found = set()
    tables = ((404, wording.NOT_FOUND), (409, wording.ALREADY_EXISTS), (409, wording.NOT_EMPTY))
    for status, table in tables:
        found |= {(code, status, text) for code, text in table.values()}
    for path in (ROOT / "src/sesame/fc").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError" and len(node.args) >= 3:
                status_node, code_node, text_node = node.args[:3]
                match status_node, code_node:
                    case ast.Constant(value=int(status)), ast.Constant(value=str(code)):
                        found.add((code, status, _text_of(text_node)))
    return found


def _text_of(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text_of(each) for each in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text_of(left) + _text_of(right)
        case _:
            return "…"


def limits_page() -> str:
    lines = ["# Limits", "", "What the API accepts.", "", "| limit | value | unit |", "|---|---|---|"]
    described = (row for row in LIMITS if hasattr(limits, row[0]))
    for name, unit, meaning in (*described, *((name, "", name.lower().replace("_", " ")) for name in undescribed())):
        value = getattr(limits, name)
        shown = ", ".join(map(_number, value)) if isinstance(value, tuple) else _number(value)
        lines.append(f"| {meaning} | {shown} | {unit} |")
    lines += ["", "## Runtimes", "", f"Run here: {', '.join(f'`{each}`' for each in limits.SANDBOXED_RUNTIMES)}.", ""]
    lines += [f"Accepted and refused when called: {', '.join(f'`{each}`' for each in limits.FOREIGN_RUNTIMES)}.", ""]
    return "\n".join(lines)


def undescribed() -> list[str]:
    """Names of numbers, and of tuples of numbers, in `model.limits` that `LIMITS` does not have."""
    known = {name for name, _unit, _meaning in LIMITS} | PARTS
    found = []
    for name, value in vars(limits).items():
        values = value if isinstance(value, tuple) else (value,)
        if name.isupper() and name not in known and all(isinstance(each, int | float) for each in values):
            found.append(name)
    return found


def _number(value: float) -> str:
    return f"{value:,}"


def _cell(text: str) -> str:
    """One line that a table's cell can hold; a bar would begin the next cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
