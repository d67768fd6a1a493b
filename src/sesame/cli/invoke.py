"""`sesame invoke`: calls a handler in a local directory, or a function deployed to a server.

The answer goes to stdout unchanged, logs and everything else to stderr; a function's error gives exit code 1.
"""

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from click.core import ParameterSource

from sesame.cli import completing, hints, http_call, importing, kept, naming, output, server
from sesame.cli.client import Answer, Client
from sesame.cli.json_option import with_json
from sesame.cli.local_call import LocalCall, LocalFunction
from sesame.cli.options import refuse_given, settle, with_settings
from sesame.model import limits
from sesame.model.invocation import Credentials, Outcome
from sesame.model.owner import label
from sesame.settings import Settings

# The path used by `sesame roles`; importing that command would import the server's database.
ROLES_PATH = "/sesame/roles"
REMOTE_TIMEOUT_S = limits.TIMEOUT_S_MAX + limits.INITIALIZATION_TIMEOUT_S_MAX
EXIT_FUNCTION_ERROR = 1
LOCAL_SETTINGS = ("interpreters", "runtimes_dir", "sandbox", "cpu", "region", "account_id")
LOCAL_ONLY = (
    "code", "runtime", "initializer", "timeout", "memory", "variables", "http", "headers", "keep", "keep_s", "role",
    "debug", "debug_port", *LOCAL_SETTINGS,
)  # fmt: skip
KEEP_S = 300.0
DEBUG_PORT = 5678
SERVER_ONLY = ("endpoint", "data_dir")


@click.command()
@click.argument("handler", required=False, shell_complete=completing.functions)
@click.option("-e", "--event", "event_text", help="The event, as text.")
@click.option("-f", "--event-file", type=click.File("rb"), help="The event, from a file; - reads standard input.")
@click.option("--service", help="Call a deployed function of this service (service or service.qualifier).")
@click.option("--function", "function_name", help="The deployed function's name.")
@click.option(
    "--endpoint", metavar="URL",
    help="Address of the server of the deployed function [FC_ENDPOINT; default: the server of the data directory].",
)  # fmt: skip
@click.option(
    "--code", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path(),
    help="Directory of the local code [default: the working directory].",
)  # fmt: skip
@click.option(
    "--runtime", type=click.Choice(limits.SANDBOXED_RUNTIMES),
    help="Runtime of the local handler [default: the newest installed one that can run the source].",
)  # fmt: skip
@click.option(
    "--initializer", default="", help="Handler that prepares the local instance, such as main.my_initializer."
)
@click.option(
    "--timeout", type=click.IntRange(limits.TIMEOUT_S_MIN, limits.TIMEOUT_S_MAX), default=limits.TIMEOUT_S_DEFAULT,
    show_default=True, help="Time limit of the local call in seconds.",
)  # fmt: skip
@click.option(
    "--memory", type=click.IntRange(limits.MEMORY_MB_MIN, limits.MEMORY_MB_MAX), default=limits.MEMORY_MB_DEFAULT,
    show_default=True, help="Memory limit of the local instance in MB.",
)  # fmt: skip
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="Environment of the local function.")
@click.option("--http", metavar="REQUEST", help="Call an HTTP function: 'GET /path?query'; the event is the body.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Header of the request.")
@click.option("--keep", is_flag=True, help="Keep the local function warm for the next command with --keep.")
@click.option(
    "--keep-s", type=click.FloatRange(0, 3600), default=KEEP_S, show_default=True,
    help="Seconds to keep it without a call; 0 ends it after this call.",
)  # fmt: skip
@click.option("--debug", is_flag=True, help="Wait for a debugger, and call the local handler under it.")
@click.option(
    "--debug-port", type=click.IntRange(0, 65535), default=DEBUG_PORT, show_default=True,
    help="Loopback port of the debugger.",
)  # fmt: skip
@click.option(
    "--role", metavar="NAME", help="Give the local function temporary keys of this role from a running server."
)
@with_json
@with_settings("data_dir", *LOCAL_SETTINGS)
def invoke(
    handler: str | None, event_text: str | None, event_file: Any, service: str | None, function_name: str | None,
    as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Calls HANDLER (such as main.my_handler) in a local directory, without a server; or a function deployed to a
    server, named SERVICE/FUNCTION[:QUALIFIER], or FUNCTION[:QUALIFIER] if it has no service.

    Server and access key come from --endpoint and --data-dir, otherwise from FC_ENDPOINT, ACCESS_KEY_ID and
    ACCESS_KEY_SECRET as printed by `sesame env`, otherwise from the server running on the data directory.
    """
    if event_text is not None and event_file is not None:
        raise click.UsageError("give the event as text (-e) or from a file (-f), not both")
    event = os.fsencode(event_text or "") if event_file is None else event_file.read(limits.SYNC_PAYLOAD_BYTES + 1)
    if len(event) > limits.SYNC_PAYLOAD_BYTES:
        raise click.UsageError(
            f"the event is larger than {limits.SYNC_PAYLOAD_BYTES} bytes, the most that a call takes"
        )
    for text in (handler, service, function_name, options["initializer"], options["code"].absolute().name):
        _refuse_what_is_no_text(text or "")
    settings = settle(options)
    if handler and (deployed := _deployed_name(handler)) is not None:
        if service or function_name:
            raise click.UsageError(f"{handler} names the function already: leave --service and --function away")
        handler, service, function_name = None, deployed.qualified_service, deployed.function
    if service or function_name:
        if not (service and function_name):
            raise click.UsageError("--service and --function go together")
        if handler:
            raise click.UsageError("a deployed function has its own handler: leave HANDLER away")
        refuse_given(LOCAL_ONLY, "a deployed function has its own settings")
        named = server.Named(settings.data_dir, options["data_dir"] is not None, options["endpoint"])
        _invoke_deployed(server.choose(named), service, function_name, event, as_json=as_json)
        return
    if not handler:
        raise click.UsageError(
            "name a HANDLER, as main.my_handler for my_handler in main.py; or a deployed SERVICE/FUNCTION"
        )
    if options["role"] is None:
        refuse_given(SERVER_ONLY, "a local handler is called without a server, but for the keys of a --role")
    if options["http"] is None:
        refuse_given(("headers",), "without --http there is no request")
    if not options["keep"]:
        refuse_given(("keep_s",), "without --keep nothing is kept")
    if options["debug"]:
        refuse_given(("keep",), "a function that is debugged is not kept")
    else:
        refuse_given(("debug_port",), "without --debug there is no debugger")
    function = LocalFunction(
        code=options["code"].absolute(),
        handler=handler,
        runtime=options["runtime"] or "",
        initializer=options["initializer"],
        timeout_s=options["timeout"],
        memory_mb=options["memory"],
        environment=_variables(options["variables"]),
    )
    http = options["http"]
    call = LocalCall(
        event=event,
        http_params=None if http is None else http_call.params(http, options["headers"], event),
        credentials=_credentials(options, settings),
    )
    if options["keep"]:
        outcome = kept.call_kept(function, call, settings, options["keep_s"], output.log)
    else:
        outcome = _run_here(function, call, settings, options["debug_port"] if options["debug"] else None)
    _show(function, call, outcome, as_json=as_json)


def _run_here(function: LocalFunction, call: LocalCall, settings: Settings, debug_port: int | None) -> Outcome:
    # Imported late: this takes longer than the rest of a call to a server or a completion.
    import asyncio

    with importing.without_collection():
        importing.import_structlog()
        from sesame.cli import own_log
        from sesame.cli.local import run_local
        from sesame.cli.local_debug import run_debugged

    own_log.configure()
    if debug_port is None:
        return asyncio.run(run_local(function, call, settings, output.note))
    return asyncio.run(run_debugged(function, call, settings, debug_port, output.note))


def _show(function: LocalFunction, call: LocalCall, outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        output.json_document(_local_document(call, outcome))
    else:
        if call.http_params is not None and outcome.error is None:
            for line in http_call.head_of(outcome.http_params):
                output.note(output.harmless(line))
        output.result(outcome.payload)
    if outcome.error is not None:
        output.note(f"X-Fc-Error-Type: {outcome.error.type}")
        for line in hints.of_names(function.code, function.handler, function.initializer):
            output.note(line)
        for line in hints.of_error(outcome.payload, function.handler.rpartition(".")[0]):
            output.note(output.harmless(line))
        sys.exit(EXIT_FUNCTION_ERROR)


def _credentials(options: dict[str, Any], settings: Settings) -> Credentials:
    """Temporary keys of the chosen role, from the server that the command's options select."""
    name = options["role"]
    if name is None:
        return Credentials()
    chosen = server.choose(server.Named(settings.data_dir, options["data_dir"] is not None, options["endpoint"]))
    server.announce(chosen, f"Keys of the role {name}")
    lent = Client(chosen).ask("POST", f"{ROLES_PATH}/{quote(name, safe='')}/credentials")
    return Credentials(lent["accessKeyId"], lent["accessKeySecret"], lent["securityToken"])


def _deployed_name(text: str) -> naming.FunctionName | None:
    """Parses `service/function[:qualifier]`, or a function's name alone; returns None for a handler.

    A handler has a dot after its last slash; with --code, a name without slash or dot is an (invalid) handler too.
    """
    with_code = click.get_current_context().get_parameter_source("code") is ParameterSource.COMMANDLINE
    is_handler = "." in text.rpartition("/")[2] or ("/" not in text and with_code)
    return None if is_handler else naming.function_name(text)


def _invoke_deployed(chosen: server.Server, service: str, function: str, event: bytes, *, as_json: bool) -> None:
    owner, dot, qualifier = service.partition(".")
    name = label(owner, function)
    server.announce(chosen, f"Calling {name}{f':{qualifier}' if dot else ''}")
    with output.busy(f"Waiting for {name} …", quiet=True):
        answer = Client(chosen).invoke(service, function, event, timeout_s=REMOTE_TIMEOUT_S)
    output.log_tail(answer.log_tail)
    if as_json:
        output.json_document(_deployed_document(answer))
    else:
        output.result(answer.body)
    if len(answer.log_tail) >= limits.LOG_TAIL_BYTES:
        output.note(f"The log's end; all of it: sesame logs {name} --request-id {answer.request_id}")
    if answer.error_type:
        output.note(f"X-Fc-Error-Type: {answer.error_type}")
        for line in hints.of_error(answer.body):
            output.note(output.harmless(line))
        sys.exit(EXIT_FUNCTION_ERROR)


def _deployed_document(answer: Answer) -> dict[str, Any]:
    """The JSON of a call to a server; `errorType` is "" unless the function failed."""
    return {
        "requestId": answer.request_id,
        "result": output.json_value(answer.body),
        "errorType": answer.error_type,
        "durationMs": float(answer.headers.get("x-fc-invocation-duration", 0)),
        "log": answer.log_tail.decode("utf-8", "replace"),
    }


def _local_document(call: LocalCall, outcome: Outcome) -> dict[str, Any]:
    """The JSON of a local call; for an HTTP function, `http` has the response's status and headers."""
    document: dict[str, Any] = {
        "result": output.json_value(outcome.payload),
        "errorType": outcome.error.type if outcome.error is not None else "",
        "durationMs": outcome.duration_ms,
        "memoryMb": outcome.memory_mb,
        "log": outcome.log_tail.decode("utf-8", "replace"),
    }
    return document if call.http_params is None else {**document, "http": outcome.http_params}


def _refuse_what_is_no_text(name: str) -> None:
    """Refuses a name that is not valid Unicode. Events are bytes; names are text."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError(f"{os.fsencode(name)!r} is not UTF-8, and no name then") from error


def _variables(pairs: tuple[str, ...]) -> dict[str, str]:
    variables = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not limits.ENVIRONMENT_NAME.match(name):
            raise click.UsageError(f"--env {pair}: expected NAME=VALUE")
        variables[name] = value
    return variables
