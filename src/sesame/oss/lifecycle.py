"""Applies buckets' lifecycle rules: deletes expired objects, moves objects to colder classes, aborts old uploads.

Run in the background by `_endpoints` every LIFECYCLE_EVERY_S. Skips objects that were overwritten after they were read.
"""

from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
import structlog

from sesame.control.buckets import Buckets
from sesame.model.bucket import Bucket
from sesame.model.errors import NotFound
from sesame.model.lifecycle import Due, DueKind, LifecycleRule
from sesame.model.object import ObjectKind, StoredObject
from sesame.model.object_event import ABORT_UPLOAD, DELETE_OBJECT, Cause
from sesame.oss.metadata import STORAGE_CLASSES
from sesame.store.objects.listing import ListQuery
from sesame.store.objects.multipart import UploadQuery, Uploads
from sesame.store.objects.objects import Objects

LIFECYCLE_EVERY_S = 3600.0
SMALL_BYTES = 64 * 1024
_DAY_S = 86_400
_PAGE = 1000

log = structlog.get_logger(__name__)


class Lifecycle:
    def __init__(self, buckets: Buckets, objects: Objects, uploads: Uploads) -> None:
        self._buckets = buckets
        self._objects = objects
        self._uploads = uploads

    async def apply(self, now: float) -> int:
        """Applies all rules as of `now`, in Unix seconds; returns the number of objects and uploads changed."""
        acted = 0
        for bucket in self._buckets.all():
            for rule in bucket.lifecycle:
                if rule.enabled:
                    acted += await self._apply_rule(bucket, rule, now)
        return acted

    async def _apply_rule(self, bucket: Bucket, rule: LifecycleRule, now: float) -> int:
        acted = 0
        if rule.expiration or rule.transitions:
            async for page in self._pages(bucket, rule):
                matching = [stored for stored in page if _matches(rule, stored)]
                expired = [stored for stored in matching if _is_due(rule.expiration, stored.modified_at, now)]
                acted += await self._objects.delete_unchanged(
                    bucket.bucket_name, expired, _cause(bucket, DELETE_OBJECT, now)
                )
                for stored in matching:
                    target = _target(rule, stored, now)
                    if target and stored not in expired:
                        acted += await self._move(stored, target)
        if rule.abort_uploads:
            acted += await self._abort(bucket, rule, now)
        if acted:
            log.info("a lifecycle rule was applied", bucket=bucket.bucket_name, rule=rule.rule_id, acted=acted)
        return acted

    async def _pages(self, bucket: Bucket, rule: LifecycleRule) -> AsyncIterator[tuple[StoredObject, ...]]:
        """Pages of the bucket's objects; stops early if the rule is removed from the bucket."""
        after: str | None = ""
        while after is not None:
            current = self._buckets.get(bucket.bucket_name)
            if current is None or rule not in current.lifecycle:
                return
            found = await self._objects.page(
                ListQuery(bucket=bucket.bucket_name, prefix=rule.prefix, after=after, limit=_PAGE)
            )
            yield found.objects
            after = found.next_after

    async def _move(self, stored: StoredObject, storage_class: str) -> int:
        moved = 0

        def change(found: StoredObject) -> StoredObject:
            nonlocal moved
            if found != stored:
                return found
            moved = 1
            meta = msgspec.structs.replace(found.meta, storage_class=storage_class, restore=None)
            return msgspec.structs.replace(found, meta=meta)

        with suppress(NotFound):
            await self._objects.update(stored.bucket, stored.key, change)
        return moved

    async def _abort(self, bucket: Bucket, rule: LifecycleRule, now: float) -> int:
        aborted = 0
        query = UploadQuery(bucket.bucket_name, rule.prefix, limit=_PAGE)
        while True:
            found = await self._uploads.page(query)
            for upload in found:
                if _is_due(rule.abort_uploads, upload.initiated_at, now) and _has_tags(rule, upload.meta.tags):
                    with suppress(NotFound):
                        await self._uploads.abort(upload, _cause(bucket, ABORT_UPLOAD, now))
                        aborted += 1
            if len(found) < _PAGE:
                return aborted
            query = msgspec.structs.replace(query, key_after=found[-1].key, id_after=found[-1].upload_id)


def _cause(bucket: Bucket, event: str, now: float) -> Cause:
    """Names the bucket's owner, who set the rule, since no request caused the change."""
    return Cause(event=event, account_id=bucket.account_id, principal_id=bucket.account_id, at=now)


def _matches(rule: LifecycleRule, stored: StoredObject) -> bool:
    if not _has_tags(rule, stored.meta.tags):
        return False
    if rule.larger_than is not None and stored.size <= rule.larger_than:
        return False
    if rule.smaller_than is not None and stored.size >= rule.smaller_than:
        return False
    return not any(
        stored.key.startswith(excluded.prefix)
        and (excluded.tag is None or stored.meta.tags.get(excluded.tag[0]) == excluded.tag[1])
        for excluded in rule.excluded
    )


def _has_tags(rule: LifecycleRule, tags: dict[str, str]) -> bool:
    return all(tags.get(name) == value for name, value in rule.tags)


def _is_due(due: Due | None, changed_at: float, now: float) -> bool:
    if due is None:
        return False
    if due.kind is DueKind.DAYS:
        return now >= changed_at + due.days * _DAY_S
    return changed_at < due.date and (due.kind is DueKind.CREATED_BEFORE_DATE or now >= due.date)


def _target(rule: LifecycleRule, stored: StoredObject, now: float) -> str:
    """The coldest class that the object is due for; "" if that is not colder than its own."""
    due = [
        STORAGE_CLASSES.index(transition.storage_class)
        for transition in rule.transitions
        if _is_due(transition.due, stored.modified_at, now) and (transition.small_too or stored.size >= SMALL_BYTES)
    ]
    if stored.kind is ObjectKind.SYMLINK or not due:
        return ""
    coldest = max(due)
    return STORAGE_CLASSES[coldest] if coldest > STORAGE_CLASSES.index(stored.meta.storage_class) else ""
