"""Selects how a folder or file is read: as one of three kinds of templates, or as code without a template.

Called by the commands `deploy`, `plan` and `remove`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from sesame.deploy import folder, funcraft, funcraft_keys, placeholders, serverless_devs, serverless_framework
from sesame.deploy.project import Place, Project, TemplateError

# In order of precedence. A template built by `fun build` precedes its source.
TEMPLATES = ("s.yaml", "s.yml", "template.yml", "template.yaml")
BUILT = (".fun", "build", "artifacts", "template.yml")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The server's account and region, and parameters of the command line: for a template, or in `wanted` for a folder.

    `folder_options` names the options given that apply only to a folder without a template.
    """

    account_id: str
    region: str
    access_key_id: str = ""
    parameters: Mapping[str, str] = {}
    wanted: Callable[[], folder.Wanted] = folder.Wanted
    folder_options: Sequence[str] = ()


def read(path: Path, context: Context) -> Project:
    """Raises `TemplateError`."""
    if not path.exists():
        raise TemplateError(Place(str(path)), "does not exist: expected a folder, a template or a Python file")
    template = _template(path)
    if template is None:
        if context.parameters:
            raise TemplateError(Place(str(path)), "it has no template, so it has no parameters")
        try:
            return folder.read(path, context.wanted())
        except TemplateError as error:
            others = [name for name in serverless_framework.NAMES if (path / name).is_file()]
            if not others:
                raise
            provider = serverless_framework.PROVIDER
            raise TemplateError(
                error.place, f"{others[0]} is not of the provider {provider}, and {error.text}"
            ) from error
    if context.folder_options:
        raise TemplateError(
            Place(str(template)),
            f"this template says what is deployed, so {' and '.join(context.folder_options)} cannot be given: change "
            "the template, or name the Python file or a folder without a template",
        )
    if serverless_framework.named(template):
        return serverless_framework.read(
            template,
            serverless_framework.Options(
                account_id=context.account_id, region=context.region, parameters=context.parameters
            ),
        )
    if _is_serverless_devs(template):
        return serverless_devs.read(
            template,
            serverless_devs.Options(
                account_id=context.account_id,
                region=context.region,
                access_key_id=context.access_key_id,
                parameters=context.parameters,
            ),
        )
    return funcraft.read(
        template,
        funcraft_keys.Options(account_id=context.account_id, region=context.region, parameters=context.parameters),
    )


def _template(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix in (".yml", ".yaml") else None
    built = path.joinpath(*BUILT)
    if built.is_file() and not any((path / name).is_file() for name in TEMPLATES[:2]):
        return built
    # A Serverless Devs application has its template and code in `src`.
    places = [path, path / "src"] if placeholders.published(path) else [path]
    found = next((place / name for place in places for name in TEMPLATES if (place / name).is_file()), None)
    # A template for another provider does not concern Function Compute: then the folder is code without a template.
    of_framework = (path / name for name in serverless_framework.NAMES if serverless_framework.recognized(path / name))
    return found or next(of_framework, None)


def _is_serverless_devs(template: Path) -> bool:
    """Decides by content if the name is ambiguous: an s.yaml has an edition, and services or resources with components.

    Before edition 1.0.0 its name could be template.yaml too, and each of its units names a component.
    """
    if template.name in TEMPLATES[:2]:
        return True
    head = template.read_bytes()[:65536]
    if template.name in TEMPLATES[2:]:
        return b"ROSTemplateFormatVersion" not in head and re.search(rb"^ +Component:", head, re.MULTILINE) is not None
    return b"ROSTemplateFormatVersion" not in head
