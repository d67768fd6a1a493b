"""Operations on projects.

Called by `sls.app` through the table of operations.
"""

from datetime import UTC, datetime

import msgspec

from sesame.model.logstore import LogProject
from sesame.sls.answers import EMPTY, Answer, json_answer
from sesame.sls.calls import Call, Document
from sesame.sls.errors import SlsError, parameter_invalid
from sesame.sls.request import check_project_name

DESCRIPTION_CHARS_MAX = 64


class _NewProject(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    project_name: str
    description: str = ""
    resource_group_id: str = ""
    data_redundancy_type: str | None = None


class _Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    description: str


async def create_project(call: Call) -> Answer:
    sent = call.json(_NewProject)
    if call.project and call.project != sent.project_name:
        raise parameter_invalid("projectName", f"that of the Host header, {call.project}", sent.project_name)
    check_project_name(sent.project_name)
    _check_description(sent.description)
    if sent.data_redundancy_type not in (None, "LRS"):
        raise parameter_invalid("dataRedundancyType", "LRS", sent.data_redundancy_type)
    if sent.resource_group_id:
        raise parameter_invalid("resourceGroupId", "none, as resource groups are not served", sent.resource_group_id)
    call.require("log:CreateProject", f"project/{sent.project_name}")
    await call.store.create_project(LogProject(sent.project_name, sent.description))
    return EMPTY


async def get_project(call: Call) -> Answer:
    project = await call.store.project(call.project)
    document = _document(call, project)
    document["createTime"] = _readable(project.created_s)
    document["lastModifyTime"] = _readable(project.modified_s)
    return json_answer(document)


async def list_projects(call: Call) -> Answer:
    if call.text("resourceGroupId"):
        raise parameter_invalid("resourceGroupId", "none", call.text("resourceGroupId"))
    name, description = call.text("projectName"), call.text("description")
    found = [each for each in await call.store.projects() if name in each.name and description in each.description]
    page = [_document(call, each) for each in call.page(found)]
    return json_answer({"count": len(page), "total": len(found), "projects": page})


async def update_project(call: Call) -> Answer:
    sent = call.json(_Changes)
    _check_description(sent.description)
    await call.store.update_project(call.project, sent.description)
    return EMPTY


async def delete_project(call: Call) -> Answer:
    await call.store.delete_project(call.project)
    return EMPTY


def _check_description(description: str) -> None:
    if len(description) > DESCRIPTION_CHARS_MAX or any(character in description for character in "<>'\"\\"):
        raise SlsError(
            "ParameterInvalid",
            f"description is invalid: expected at most {DESCRIPTION_CHARS_MAX} characters without < > ' \" \\",
        )


def _document(call: Call, project: LogProject) -> Document:
    return {
        "projectName": project.name,
        "status": "Normal",
        "owner": call.dependencies.account_id,
        "description": project.description,
        "region": call.dependencies.region,
        "resourceGroupId": "",
        "dataRedundancyType": "LRS",
        "createTime": str(project.created_s),
        "lastModifyTime": str(project.modified_s),
    }


def _readable(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
