"""An alias: a name that points to a version, and may send a share of the calls to another.

Made by `control.aliases`, kept by `store.catalog`, read by the engine, which decides where each call goes.
Field names follow reference/api.md §3.4.
"""

from typing import Any

import msgspec


class Alias(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `alias`, parent the service, name the alias'. A weight is the share (0 to 1) of the version it names."""

    alias_name: str
    version_id: str
    description: str = ""
    additional_version_weight: dict[str, float] | None = None
    resolve_policy: str = ""
    route_policy: dict[str, Any] | None = None
