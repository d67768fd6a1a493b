"""Objects of cold storage classes: reading needs a restored copy, which takes a minute to make and expires.

Routed to by `oss.routes`; every read and copy checks it. Sesame stores all classes alike, but code that restores
before reading sees the same states as in the cloud.
"""

import msgspec

from sesame.model.bucket import Bucket
from sesame.model.natural import natural
from sesame.model.object import ObjectKind, Restore, StoredObject
from sesame.oss import xml
from sesame.oss.answers import Answer, http_time
from sesame.oss.calls import Call
from sesame.oss.errors import OssError, invalid_argument

# The cloud takes this long for Archive, and hours for the colder classes, which would serve no purpose in Sesame.
RESTORE_S = 60.0
DAY_S = 86_400
_DAYS_MAX = {"Archive": 7, "ColdArchive": 365, "DeepColdArchive": 365}
# Restore speeds of the classes that offer a choice; the first is the default.
_TIERS = {"ColdArchive": ("Standard", "Expedited", "Bulk"), "DeepColdArchive": ("Standard", "Expedited")}


async def restore_object(call: Call) -> Answer:
    """Answers 202 if a restore starts, 200 if the object is already restored and the restore is prolonged."""
    body = await call.body.whole(xml.BODY_BYTES_MAX)
    days, tier = 1, ""
    if body:
        root = await xml.read_bytes(body, "RestoreRequest")
        days_text = xml.text(root, "Days").strip() or "1"
        tier = xml.text(root, "JobParameters/Tier") or xml.text(root, "Tier")
        days = natural(days_text, max(_DAYS_MAX.values())) or 0
        if not days:
            raise OssError("MalformedXML", details={"Days": days_text})
    now, restored_before = call.dependencies.clock(), False

    def change(stored: StoredObject) -> StoredObject:
        nonlocal restored_before, tier
        storage_class = stored.meta.storage_class
        if stored.kind is ObjectKind.SYMLINK or storage_class not in _DAYS_MAX:
            raise OssError("OperationNotSupported", details={"Resource": "Object"})
        if days > _DAYS_MAX[storage_class]:
            raise OssError("MalformedXML", details={"Days": str(days)})
        tiers = _TIERS.get(storage_class, ())
        if tier and not tiers:
            raise OssError("MalformedXML", "Objects of the class Archive are restored without a tier.")
        if tier and tier not in tiers:
            raise invalid_argument("Tier", tier)
        tier = tier or (tiers[0] if tiers else "")
        if is_restoring(stored, now):
            raise OssError("RestoreAlreadyInProgress", details={"Key": stored.key})
        restored_before = _is_restored(stored, now)
        ready_at = now if restored_before else now + RESTORE_S
        meta = msgspec.structs.replace(stored.meta, restore=Restore(ready_at, ready_at + days * DAY_S))
        return msgspec.structs.replace(stored, meta=meta)

    await call.dependencies.objects.update(call.bucket.bucket_name, call.key, change)
    headers = {"x-oss-object-restore-priority": tier} if tier else {}
    return Answer(status=200 if restored_before else 202, headers=headers)


async def clean_restored_object(call: Call) -> Answer:
    """Ends a restore before it expires."""
    now = call.dependencies.clock()

    def change(stored: StoredObject) -> StoredObject:
        if stored.meta.storage_class not in _TIERS:
            raise OssError("OperationNotSupported", details={"Resource": "Object"})
        if is_restoring(stored, now):
            raise OssError("ArchiveRestoreNotFinished", details={"Key": stored.key})
        if not _is_restored(stored, now):
            raise OssError("ArchiveRestoreFileStale", details={"Key": stored.key})
        return msgspec.structs.replace(stored, meta=msgspec.structs.replace(stored.meta, restore=None))

    await call.dependencies.objects.update(call.bucket.bucket_name, call.key, change)
    return Answer()


def require_readable(stored: StoredObject, bucket: Bucket, now: float) -> None:
    """Raises OssError InvalidObjectState for an object of a cold class that is not restored."""
    storage_class = stored.meta.storage_class
    if storage_class not in _DAYS_MAX or _is_restored(stored, now):
        return
    if storage_class == "Archive" and bucket.archive_direct_read:
        return
    raise OssError("InvalidObjectState", details={"ObjectName": stored.key})


def restore_state(stored: StoredObject, now: float) -> str:
    """The value of `x-oss-restore`; "" if the object is neither restored nor being restored."""
    if is_restoring(stored, now):
        return 'ongoing-request="true"'
    if _is_restored(stored, now) and stored.meta.restore is not None:
        return f'ongoing-request="false", expiry-date="{http_time(stored.meta.restore.expires_at)}"'
    return ""


def is_restoring(stored: StoredObject, now: float) -> bool:
    return stored.meta.restore is not None and now < stored.meta.restore.ready_at


def _is_restored(stored: StoredObject, now: float) -> bool:
    restore = stored.meta.restore
    return restore is not None and restore.ready_at <= now < restore.expires_at
