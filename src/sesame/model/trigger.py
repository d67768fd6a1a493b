"""A trigger: the source of a function's events, and its settings.

Created by `control.triggers`, stored by `store.catalog`, read by the parts that fire triggers.
Field names follow reference/api.md §3.5.
"""

from typing import Any

import msgspec


class Trigger(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `trigger`, parent by `trigger_parent`. `trigger_config` is stored as sent; see `model.trigger_configs`.

    `source_arn` is None for HTTP; an empty `qualifier` means LATEST.
    """

    trigger_name: str
    trigger_id: str
    trigger_type: str
    trigger_config: dict[str, Any]
    source_arn: str | None = None
    invocation_role: str = ""
    description: str = ""
    qualifier: str = ""


def bucket_of(trigger: Trigger) -> str:
    """The bucket in an OSS trigger's source (`acs:oss:<region>:<account>:<bucket>`), or ""."""
    parts = (trigger.source_arn or "").split(":")
    return parts[4] if len(parts) == 5 and parts[:2] == ["acs", "oss"] else ""


def log_project_of(trigger: Trigger) -> str:
    """The project in a log trigger's source (`acs:log:<region>:<account>:project/<project>`), or ""."""
    parts = (trigger.source_arn or "").split(":")
    if len(parts) != 5 or parts[:2] != ["acs", "log"]:
        return ""
    return parts[4].removeprefix("project/").partition("/")[0]


def parts_of_parent(parent: str) -> tuple[str, str]:
    """Splits a trigger's parent, `owner/function`, into owner and function."""
    owner, _slash, function = parent.partition("/")
    return owner, function


def trigger_parent(service: str, function: str) -> str:
    """The parent of a function's triggers."""
    return f"{service}/{function}"
