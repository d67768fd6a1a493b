"""Deploys a function of the test file, or a folder, which is read the way `sesame deploy` reads it.

Called by `testing.cloud`. Imports none of the server's modules, which would take longer to load than the tests run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sesame.deploy import archive
from sesame.deploy import folder as folders
from sesame.model.errors import SesameError
from sesame.testing.api import DEFAULT_ROLE, Api
from sesame.testing.errors import CloudError
from sesame.testing.function import Function, Owner
from sesame.testing.options import FunctionOptions
from sesame.testing.source import Source

SERVICE = "tests"
TIMEOUT_S, MEMORY_MB = 60, 256


@dataclass(frozen=True)
class Given:
    """A function of a test file: its name, its runtime, and the module generated from it."""

    name: str
    runtime: str
    source: Source


def handler(cloud: Owner, api: Api, given: Given, options: FunctionOptions) -> Function:
    service, name = options.get("service", SERVICE), options.get("name", given.name)
    fields = {"handler": given.source.handlers[0], "runtime": given.runtime, **_fields(options)}
    if len(given.source.handlers) > 1:
        fields |= {"initializer": given.source.handlers[1], "initializationTimeout": TIMEOUT_S}
    api.put_service(service, options.get("role", DEFAULT_ROLE))
    api.put_function(service, name, {**fields, **options.get("fields", {})}, given.source.files)
    if options.get("http"):
        api.add_http_trigger(service, name)
    return Function(cloud, api, service, name)


@dataclass(frozen=True)
class Found:
    """A folder or Python file with the given settings. `runtimes` are those of this machine."""

    path: Path
    handler: str
    runtime: str | None
    runtimes: list[str]


def folder(cloud: Owner, api: Api, given: Found, options: FunctionOptions) -> Function:
    path = given.path
    wanted = folders.Wanted(
        service=options.get("service", SERVICE),
        function=options.get("name"),
        handler=given.handler or None,
        runtime=given.runtime,
        http=options.get("http"),
        runtimes=given.runtimes,
    )
    if "initializer" in options:
        raise CloudError("name the initializer of a folder's code by fields={'initializer': 'module.function'}")
    project = read_or_refuse(lambda: folders.read(path, wanted))
    (function,) = project.functions
    api.put_service(function.service, options.get("role", DEFAULT_ROLE))
    fields = {**function.fields, **_fields(options), **options.get("fields", {})}
    data = read_or_refuse(lambda: archive.packed(function.code))
    api.put_zip(function.service, function.name, fields, data)
    if project.triggers:
        api.add_http_trigger(function.service, function.name)
    return Function(cloud, api, function.service, function.name)


def _fields(options: FunctionOptions) -> dict[str, Any]:
    return {
        "timeout": options.get("timeout_s", TIMEOUT_S),
        "memorySize": options.get("memory_mb", MEMORY_MB),
        "environmentVariables": dict(options.get("environment", {})),
    }


def read_or_refuse(read: Any) -> Any:
    """Raises `CloudError` if `read` cannot read or pack its input."""
    try:
        return read()
    except (SesameError, OSError) as error:
        raise CloudError(str(error)) from error
