"""The contents of a template or folder in the terms of the API, independent of the template's kind.

Created by `deploy.folder`, `deploy.funcraft` and `deploy.serverless_devs`; `deploy.plan` compares it with a server.
"""

from pathlib import Path
from typing import Any

import msgspec

from sesame.model.errors import SesameError
from sesame.model.owner import label


class Place(msgspec.Struct, frozen=True):
    """A position in a file; line and column count from 1, and 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])


class TemplateError(SesameError):
    """A template that cannot be deployed; the message starts with file, line and column."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(f"{place}: {text}")
        self.place, self.text = place, text


class Note(msgspec.Struct, frozen=True):
    """Something without effect in Sesame, and why; or, as an `error`, something to correct before deploying."""

    place: Place
    text: str
    error: bool = False


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """The source of a function's code: a file, a folder, a zip, or an object `oss://bucket/object`.

    `ignore_file` contains patterns of files that are not code (`.funignore`, `.fcignore`), in gitignore's syntax;
    `left_out` names files and folders to ignore at any depth; `patterns` are further lines of an ignore file.
    """

    path: Path | None = None
    bucket: str = ""
    object: str = ""
    ignore_file: Path | None = None
    left_out: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


def left_out(runtime: str) -> tuple[str, ...]:
    """What to leave out of the code of this runtime's functions: Python does not use Node.js packages."""
    return ("node_modules",) if runtime.startswith("python") else ()


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role defined by its policies in a template: names of system policies, and documents.

    `shared`: other templates may define a role of this name too, so its policies are added to an existing role.
    """

    name: str
    system_policies: tuple[str, ...] = ()
    documents: tuple[dict[str, Any], ...] = ()
    shared: bool = False


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` are those of CreateService, without the name."""

    name: str
    fields: dict[str, Any]
    place: Place


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` are those of CreateFunction, without name and code.

    `service` is the owner of a function without a service (`model.owner`), whose fields are those of 2023-03-30.
    """

    service: str
    name: str
    fields: dict[str, Any]
    code: Code
    place: Place

    @property
    def label(self) -> str:
        """The function's name in commands."""
        return label(self.service, self.name)

    @property
    def runtime(self) -> str:
        return str(self.fields.get("runtime", ""))


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` are those of CreateTrigger, without the name."""

    service: str
    function: str
    name: str
    fields: dict[str, Any]
    place: Place


class AsyncConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` are those of PutFunctionAsyncInvokeConfig."""

    service: str
    function: str
    qualifier: str
    fields: dict[str, Any]
    place: Place


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of a function without a service; `path` is the last segment of the operation that puts `fields`."""

    function: str
    path: str
    qualifier: str
    fields: dict[str, Any]
    place: Place


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` are those of CreateCustomDomain without the name; of version 2023-03-30 if `standing_alone`."""

    name: str
    fields: dict[str, Any]
    place: Place
    standing_alone: bool = False


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one `sesame deploy` creates, in order of creation. `source` is the folder or file read."""

    source: Path
    roles: tuple[Role, ...] = ()
    services: tuple[Service, ...] = ()
    functions: tuple[Function, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    async_configs: tuple[AsyncConfig, ...] = ()
    settings: tuple[Setting, ...] = ()
    domains: tuple[Domain, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def errors(self) -> tuple[Note, ...]:
        return tuple(note for note in self.notes if note.error)
