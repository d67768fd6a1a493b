"""What a template or a folder asks for, in the words of the APIs and of no template.

Made by `deploy.folder`, `deploy.funcraft` and `deploy.serverless_devs`; compared with a server by `deploy.plan`.
"""

from pathlib import Path
from typing import Any

import msgspec

from sesame.model.errors import SesameError
from sesame.model.owner import label


class Place(msgspec.Struct, frozen=True):
    """Where something stands in a file, both numbers from 1; 0 where it is not known."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])


class TemplateError(SesameError):
    """A template that cannot be deployed as it stands; the text begins with file, line and column."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(f"{place}: {text}")
        self.place, self.text = place, text


class Note(msgspec.Struct, frozen=True):
    """What has no meaning here, and why; or, as an `error`, what must be mended to deploy the template."""

    place: Place
    text: str
    error: bool = False


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """Where a function's code comes from: a file, a folder, a zip, or an object `oss://bucket/object`.

    `ignore_file` names the patterns of what does not belong to it (`.funignore`, `.fcignore`), in gitignore's syntax;
    `left_out` names files and folders that do not either, wherever they lie; `patterns` are lines as of an ignore file.
    """

    path: Path | None = None
    bucket: str = ""
    object: str = ""
    ignore_file: Path | None = None
    left_out: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


def left_out(runtime: str) -> tuple[str, ...]:
    """What the code of a function of this runtime leaves out: Python's has no use for packages of Node.js."""
    return ("node_modules",) if runtime.startswith("python") else ()


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role that the template describes by its policies: names of system policies and documents of its own.

    `shared`: templates of others may describe a role of this name too, so its policies are added to what is there.
    """

    name: str
    system_policies: tuple[str, ...] = ()
    documents: tuple[dict[str, Any], ...] = ()
    shared: bool = False


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` as CreateService takes them, without the name."""

    name: str
    fields: dict[str, Any]
    place: Place


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` as CreateFunction takes them, without name and code.

    `service` is the owner of a function that stands alone (`model.owner`); its fields are those of 2023-03-30.
    """

    service: str
    name: str
    fields: dict[str, Any]
    code: Code
    place: Place

    @property
    def label(self) -> str:
        """As commands name it."""
        return label(self.service, self.name)

    @property
    def runtime(self) -> str:
        return str(self.fields.get("runtime", ""))


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` as CreateTrigger takes them, without the name."""

    service: str
    function: str
    name: str
    fields: dict[str, Any]
    place: Place


class AsyncConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` as PutFunctionAsyncInvokeConfig takes them."""

    service: str
    function: str
    qualifier: str
    fields: dict[str, Any]
    place: Place


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of a function that stands alone; `path` is the last part of the operation that puts `fields`."""

    function: str
    path: str
    qualifier: str
    fields: dict[str, Any]
    place: Place


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` as CreateCustomDomain takes them, without the name; of 2023-03-30 where it is `standing_alone`."""

    name: str
    fields: dict[str, Any]
    place: Place
    standing_alone: bool = False


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one `sesame deploy` brings about, in the order in which it is made. `source` is what was read."""

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
