"""What a node of a cluster says of itself in `node.json`: written by its follower, read by what keeps the node running.

Both may be of different versions: what one of them does not know is left out.
"""

from typing import Any

import msgspec

LEADS, FOLLOWS, WAITS = "leads", "follows", "waits"


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`role` is LEADS where the node's other process is the writer, FOLLOWS where that is elsewhere, else WAITS.

    `why` says why it waits; a `role` of "" is not known yet. `since` is when that began (Unix seconds).

    `version` of Sesame runs, of this `build`; nodes that `speaks` the same can be linked. `writer` is the node that
    leads, in `epoch`.
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
    """Of a document of any version; of what is none, nothing is known."""
    try:
        return msgspec.convert(told, Standing)
    except msgspec.ValidationError:
        return Standing()
