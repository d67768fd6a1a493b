"""An alias: a name that points to a version and may send a share of the calls to another version.

Created by `control.aliases`, stored by `store.catalog`, read by the engine to choose a version for each call.
Field names follow reference/api.md §3.4.
"""

from typing import Any

import msgspec


class Alias(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `alias`, parent the service, name the alias. A weight is the share of calls (0 to 1) that a version gets."""

    alias_name: str
    version_id: str
    description: str = ""
    additional_version_weight: dict[str, float] | None = None
    resolve_policy: str = ""
    route_policy: dict[str, Any] | None = None
