"""Deploys a template with all its resources, as `sesame deploy` does.

Called by `testing.cloud`.
"""

from pathlib import Path

from sesame.deploy import sources
from sesame.deploy.apply import apply
from sesame.deploy.plan import plan
from sesame.deploy.project import Project
from sesame.model.errors import SesameError
from sesame.testing.api import Api
from sesame.testing.deployment import read_or_refuse
from sesame.testing.errors import CloudError
from sesame.testing.function import Function, Owner


def deploy(cloud: Owner, api: Api, path: Path, context: sources.Context) -> dict[str, Function]:
    """Returns the functions by `service/function`. Raises `CloudError` with file, line and column of each error."""
    project: Project = read_or_refuse(lambda: sources.read(path, context))
    if project.errors:
        errors = "\n".join(f"{note.place}: {note.text}" for note in project.errors)
        raise CloudError(f"{path} cannot be deployed as it is:\n{errors}")
    try:
        apply(plan(project, api.client), api.client, lambda _step: None)
    except SesameError as error:
        raise CloudError(f"{path} was not deployed: {error}") from error
    return {each.label: Function(cloud, api, each.service, each.name) for each in project.functions}
