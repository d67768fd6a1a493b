"""Writes the events of objects into the outbox, in the transaction of the change, if a trigger wants them.

Used by `store.objects.objects` and `store.objects.multipart`; `triggers.object_events` sets what to watch. For a bucket
that no trigger watches, this costs one dictionary lookup.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from sesame.model.object import ObjectMeta, StoredObject
from sesame.model.object_event import Cause, ObjectEvent
from sesame.store import outbox

_encode = msgspec.json.Encoder().encode
_DEFAULT_TYPE = "application/octet-stream"
_USER_META = "x-oss-meta-"


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """The events that one trigger wants: by name, for keys with a prefix and a suffix, in a bucket of this account.

    `trigger` is the outbox's subject for them (`service/function/trigger`).
    """

    trigger: str
    trigger_id: str
    account_id: str
    events: frozenset[str]
    prefix: str = ""
    suffix: str = ""

    def wants(self, cause: Cause, key: str) -> bool:
        asked = cause.event in self.events and cause.account_id == self.account_id
        return asked and key.startswith(self.prefix) and key.endswith(self.suffix)


class Changed(msgspec.Struct, frozen=True):
    """The object of an event, after the change, or as it was before it was removed."""

    bucket: str
    key: str
    meta: ObjectMeta
    etag: str = ""
    size: int = 0
    delta_size: int = 0


class ObjectEvents:
    """`note` is called on the writer's thread, all other methods on the event loop.

    The dictionary of watches is replaced as a whole, so that a transaction sees one state of it. Creating a trigger is
    answered only after its watch is set.
    """

    def __init__(self) -> None:
        self._watches: Mapping[str, tuple[Watch, ...]] = {}
        self._callbacks: list[Callable[[], None]] = []

    def watch(self, watches: Mapping[str, Sequence[Watch]]) -> None:
        """Watches, by bucket; replaces all previous ones."""
        self._watches = {bucket: tuple(found) for bucket, found in watches.items() if found}

    def watched(self, bucket: str) -> bool:
        return bucket in self._watches

    def on_events(self, callback: Callable[[], None]) -> None:
        """Calls `callback` after each commit that may have written events."""
        self._callbacks.append(callback)

    def note(self, connection: sa.Connection, cause: Cause | None, changes: Sequence[Changed]) -> None:
        """Call in the transaction of the changes. No cause means an object of the platform, which has no events."""
        if cause is None or not changes:
            return
        entries: list[tuple[str, bytes]] = []
        for changed in changes:
            for watch in self._watches.get(changed.bucket, ()):
                if watch.wants(cause, changed.key):
                    entries.append((watch.trigger, _encode(_event(watch, cause, changed))))
        outbox.add_each(connection, outbox.OBJECT_EVENT, entries, cause.at)

    def announce(self, bucket: str) -> None:
        """Call after the commit."""
        if bucket in self._watches:
            for callback in self._callbacks:
                callback()


def created(stored: StoredObject, former: StoredObject | None) -> Changed:
    grown = stored.size - (former.size if former is not None else 0)
    return Changed(stored.bucket, stored.key, stored.meta, stored.etag, stored.size, grown)


def removed(former: StoredObject) -> Changed:
    return Changed(former.bucket, former.key, former.meta, former.etag, former.size, -former.size)


def _event(watch: Watch, cause: Cause, changed: Changed) -> ObjectEvent:
    headers = changed.meta.headers
    return ObjectEvent(
        trigger_id=watch.trigger_id,
        cause=cause,
        bucket=changed.bucket,
        key=changed.key,
        size=changed.size,
        delta_size=changed.delta_size,
        etag=changed.etag,
        mime_type=headers.get("content-type", _DEFAULT_TYPE),
        user_meta={name: value for name, value in headers.items() if name.startswith(_USER_META)},
    )
