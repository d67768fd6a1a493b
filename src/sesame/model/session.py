"""A session: calls that belong together and are to reach one instance; and a snapshot that is asked for of one.

Made by `control.sessions`, kept by `store.catalog`. Field names follow reference/api.md §5.2.
"""

from typing import Any

import msgspec

ACTIVE, PAUSED = "Active", "Paused"
# Kept for its id alone, which no other session may have; nobody sees it.
EXPIRED = "Expired"


class Session(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Kind `session`, parent as `session_parent` says, name the id. Times in seconds; `settings` is kept as sent.

    With an `idle_timeout_s` of 0 it ends by its `ttl_s` alone.
    """

    session_id: str
    qualifier: str
    affinity_type: str
    status: str = ACTIVE
    idle_timeout_s: int
    ttl_s: int
    disable_id_reuse: bool = False
    settings: dict[str, Any] = {}


class SessionKey(msgspec.Struct, frozen=True):
    """Which session a call belongs to. One that was made anew under the same id has another time of creation."""

    parent: str
    session_id: str
    created_at: float


class SessionSnapshot(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Kind `session_snapshot`, parent as `session_parent` says, name the id. No memory or disk is kept for it."""

    snapshot_id: str
    session_id: str
    qualifier: str
    description: str = ""


def is_over(session: Session, created_at: float, used_at: float, now: float) -> bool:
    """Whether its time is over. `used_at` is when its last call ended, or `now` while one runs.

    POLICY: nobody calls a paused session, so that its `ttl_s` alone ends it.
    """
    if session.status == EXPIRED or now - created_at >= session.ttl_s:
        return True
    return session.status != PAUSED and 0 < session.idle_timeout_s <= now - used_at


def session_parent(owner: str, function: str) -> str:
    return f"{owner}/{function}"
