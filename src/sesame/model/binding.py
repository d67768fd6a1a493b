"""A service's tags, and the VPCs that it is bound to.

Made by `control.tags` and `control.vpc`, kept by `store.catalog`.
Field names follow reference/api.md §3.6.
"""

import msgspec


class Tags(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `tags`, parent "", name the service's. There is no record where there is no tag."""

    tags: dict[str, str]


class VpcBinding(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `vpc_binding`, parent the service's name, name the VPC's id. Kept and listed; nothing is connected."""

    vpc_id: str
