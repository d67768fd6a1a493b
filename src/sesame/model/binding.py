"""A service's tags and VPC bindings, and the event sources of its functions.

Created by `control.tags`, `control.vpc` and `control.event_sources`, stored by `store.catalog`.
Field names follow reference/api.md §3.6.
"""

import msgspec


class Tags(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `tags`, parent "", name the service. A service without tags has no record."""

    tags: dict[str, str]


class VpcBinding(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `vpc_binding`, parent the service, name the VPC's id. Stored and listed only; no VPC is connected."""

    vpc_id: str


class EventSource(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `event_source`, parent the service, name by `event_source_name`. Stored only; no source is connected."""

    service: str
    function: str
    qualifier: str
    source_arn: str


def event_source_name(function: str, qualifier: str, source_arn: str) -> str:
    return f"{function}/{qualifier}/{source_arn}"
