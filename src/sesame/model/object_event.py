"""Object events: their names, the patterns of triggers that match them, and the stored event.

Chosen by `oss` for each change, written by `store.objects.events`, read by `triggers.object_events`; patterns are
validated by `control.oss_triggers`. Names are the cloud's, without the `oss:` that begins a trigger's pattern.
"""

from collections.abc import Iterable

import msgspec

PUT_OBJECT = "ObjectCreated:PutObject"
POST_OBJECT = "ObjectCreated:PostObject"
COPY_OBJECT = "ObjectCreated:CopyObject"
PUT_SYMLINK = "ObjectCreated:PutSymlink"
APPEND_OBJECT = "ObjectCreated:AppendObject"
INITIATE_UPLOAD = "ObjectCreated:InitiateMultipartUpload"
UPLOAD_PART = "ObjectCreated:UploadPart"
UPLOAD_PART_COPY = "ObjectCreated:UploadPartCopy"
COMPLETE_UPLOAD = "ObjectCreated:CompleteMultipartUpload"
DELETE_OBJECT = "ObjectRemoved:DeleteObject"
DELETE_OBJECTS = "ObjectRemoved:DeleteObjects"
ABORT_UPLOAD = "ObjectRemoved:AbortMultipartUpload"

RAISED = (
    PUT_OBJECT, POST_OBJECT, COPY_OBJECT, PUT_SYMLINK, APPEND_OBJECT, INITIATE_UPLOAD, UPLOAD_PART, UPLOAD_PART_COPY,
    COMPLETE_UPLOAD, DELETE_OBJECT, DELETE_OBJECTS, ABORT_UPLOAD,
)  # fmt: skip
# Events that the cloud lets a trigger name and that Sesame does not raise.
NOT_RAISED = (
    "ObjectModified:UpdateObjectMeta", "ObjectModified:ChangeStorageClass", "ObjectDownloaded:GetObject",
    "ObjectReplication:ObjectCreated", "ObjectReplication:ObjectRemoved", "ObjectReplication:ObjectModified",
    "ObjectRestore:FinishRestore",
)  # fmt: skip

_SERVICE = "oss:"


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why an object changes: the event, and the request behind it.

    `account_id` owned the bucket when the caller's rights were checked; the change is refused if the owner has changed
    since. `at` is in Unix seconds. `source_ip` and `request_id` are "" for Sesame's own changes. `chain` is the
    principal's: the functions that led to this request.
    """

    event: str
    account_id: str
    principal_id: str
    at: float
    source_ip: str = ""
    request_id: str = ""
    chain: tuple[str, ...] = ()


class ObjectEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one trigger, as queued in the outbox. `delta_size` is the object's growth in bytes."""

    trigger_id: str
    cause: Cause
    bucket: str
    key: str
    size: int
    delta_size: int
    etag: str
    mime_type: str
    user_meta: dict[str, str]


def named_by(pattern: str) -> frozenset[str]:
    """The events that a pattern such as `oss:ObjectCreated:*` matches; empty if it matches none.

    A `*` matches any run of characters.
    """
    if not pattern.startswith(_SERVICE):
        return frozenset()
    wanted = pattern.removeprefix(_SERVICE)
    return frozenset(name for name in (*RAISED, *NOT_RAISED) if _matches(wanted, name))


def named_by_any(patterns: Iterable[str]) -> frozenset[str]:
    """The events that at least one of the patterns matches."""
    return frozenset().union(*map(named_by, patterns))


def _matches(pattern: str, name: str) -> bool:
    """Matches each part between the stars at its first occurrence, hence in linear time."""
    first, *others = pattern.split("*")
    if not others:
        return name == pattern
    *middle, last = others
    if not name.startswith(first):
        return False
    at = len(first)
    for part in middle:
        found = name.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return name.endswith(last) and len(name) - len(last) >= at
