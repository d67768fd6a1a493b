"""A cluster node's own status in `node.json`, written by its follower and read by the node's supervisor.

Writer and reader may be of different versions; unknown fields are ignored.
"""

from typing import Any

import msgspec

LEADS, FOLLOWS, WAITS = "leads", "follows", "waits"


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`role` is LEADS if the node's other process is the writer, FOLLOWS if the writer is elsewhere, else WAITS.

    `why` gives the reason for WAITS; a `role` of "" is not known yet. `since` is when the role began (Unix seconds).

    `version` and `build` identify the running Sesame; nodes with the same `speaks` can be linked. `writer` is the node
    that leads, in `epoch`.
    """

    node: str = ""
    version: str = ""
    build: str = ""
    speaks: str = ""
    role: str = ""
    since: float = 0.0
    writer: str = ""
    epoch: int = 0
    why: str = ""


def standing_of(told: Any) -> Standing:
    """Parses a document of any version; an empty `Standing` if it cannot be parsed."""
    try:
        return msgspec.convert(told, Standing)
    except msgspec.ValidationError:
        return Standing()
