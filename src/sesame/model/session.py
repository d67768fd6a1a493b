"""A session, whose calls run on one instance, and the requested snapshot of one.

Created by `control.sessions`, stored by `store.catalog`. Field names follow reference/api.md §5.2.
"""

from typing import Any

import msgspec

ACTIVE, PAUSED = "Active", "Paused"
# Hidden; kept so that no other session takes its id.
EXPIRED = "Expired"


class Session(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Kind `session`, parent by `session_parent`, name the id. Times are in seconds; `settings` is stored as sent.

    With an `idle_timeout_s` of 0, only `ttl_s` ends the session.
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
    """The session of a call. A session recreated under the same id has another creation time."""

    parent: str
    session_id: str
    created_at: float


class SessionSnapshot(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Kind `session_snapshot`, parent by `session_parent`, name the id. No memory or disk is saved for it."""

    snapshot_id: str
    session_id: str
    qualifier: str
    description: str = ""


def is_over(session: Session, created_at: float, used_at: float, now: float) -> bool:
    """Whether the session's time is over. `used_at` is when its last call ended, or `now` while one runs.

    POLICY: a paused session gets no calls, so only its `ttl_s` ends it.
    """
    if session.status == EXPIRED or now - created_at >= session.ttl_s:
        return True
    return session.status != PAUSED and 0 < session.idle_timeout_s <= now - used_at


def session_parent(owner: str, function: str) -> str:
    return f"{owner}/{function}"
