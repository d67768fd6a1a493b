"""A trigger: what calls a function, and with which settings.

Made by `control.triggers`, kept by `store.catalog`, read by what fires triggers.
Field names follow reference/api.md §3.5.
"""

from typing import Any

import msgspec


class Trigger(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `trigger`, parent as `trigger_parent` says. `trigger_config` is as sent, for its type's struct to read.

    `source_arn` is None for HTTP; an empty `qualifier` means the present state of the function.
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
    """The bucket that an OSS trigger's source names (`acs:oss:<region>:<account>:<bucket>`); "" where it names none."""
    parts = (trigger.source_arn or "").split(":")
    return parts[4] if len(parts) == 5 and parts[:2] == ["acs", "oss"] else ""


def log_project_of(trigger: Trigger) -> str:
    """The project that a log trigger's source names (`acs:log:<region>:<account>:project/<project>`), or ""."""
    parts = (trigger.source_arn or "").split(":")
    if len(parts) != 5 or parts[:2] != ["acs", "log"]:
        return ""
    return parts[4].removeprefix("project/").partition("/")[0]


def parts_of_parent(parent: str) -> tuple[str, str]:
    """Owner and function of a parent that is `owner/function`."""
    owner, _slash, function = parent.partition("/")
    return owner, function


def trigger_parent(service: str, function: str) -> str:
    """Under which parent the triggers of a function are kept."""
    return f"{service}/{function}"
