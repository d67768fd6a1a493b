"""A service's tags, the VPCs that it is bound to, and the sources of events of its functions.

Made by `control.tags`, `control.vpc` and `control.event_sources`, kept by `store.catalog`.
Field names follow reference/api.md §3.6.
"""

import msgspec


class Tags(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `tags`, parent "", name the service's. There is no record where there is no tag."""

    tags: dict[str, str]


class VpcBinding(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `vpc_binding`, parent the service's name, name the VPC's id. Kept and listed; nothing is connected."""

    vpc_id: str


class EventSource(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `event_source`, parent the service's name, name as `event_source_name` says. Kept; nothing is connected."""

    service: str
    function: str
    qualifier: str
    source_arn: str


def event_source_name(function: str, qualifier: str, source_arn: str) -> str:
    return f"{function}/{qualifier}/{source_arn}"
