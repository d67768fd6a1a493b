"""Converts invocations to rows of the queue and back.

Used by `store.queue`. Times for waiting are the queue's (`store.queue.clock`), and times that are shown are the wall
clock's.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from sesame.model.async_invocation import NO_META, AsyncInvocation, InvocationMeta, Leased, NewInvocation, State
from sesame.model.errors import Invalid
from sesame.model.invocation import Target
from sesame.store.queue.clock import QueueClock
from sesame.store.queue.events import events_of
from sesame.store.sql.queue_schema import invocations

_encode_meta = msgspec.json.Encoder().encode
_decode_meta = msgspec.json.Decoder(InvocationMeta).decode

_ENQUEUED = State.ENQUEUED.value

LEASED_COLUMNS = tuple(
    invocations.c[name]
    for name in (
        "seq",
        "epoch",
        "service",
        "qualifier",
        "function",
        "invocation_id",
        "request_id",
        "payload",
        "stateful",
        "source",
        "attempts",
        "throttles",
        "enqueued_at",
        "expires_at",
        "error",
        "meta",
        "state",
    )
)
NEW_COLUMNS = (
    "seq",
    "service",
    "function",
    "qualifier",
    "invocation_id",
    "request_id",
    "stateful",
    "source",
    "state",
    "due_at",
    "enqueued_at",
    "expires_at",
    "epoch",
    "holder",
    "events",
    "meta",
    "payload",
)
RECORD_COLUMNS = tuple(column for column in invocations.c if column.name != "payload")


def check(new: NewInvocation) -> None:
    """Raises `Invalid` for values that a database cannot store, which would fail the changes of others."""
    target = new.target
    if is_storable(
        f"{target.service}{target.function}{target.qualifier}{new.invocation_id}{new.request_id}{new.source}"
    ) and math.isfinite(new.not_before + new.expires_at):
        return
    for field, text in (
        ("service", target.service),
        ("function", target.function),
        ("qualifier", target.qualifier),
        ("invocation_id", new.invocation_id),
        ("request_id", new.request_id),
        ("source", new.source),
    ):
        if not is_storable(text):
            raise Invalid(field, "text without NUL and without surrogates", ascii(text))
    for field, at in (("not_before", new.not_before), ("expires_at", new.expires_at)):
        if not math.isfinite(at):
            raise Invalid(field, "Unix seconds", at)


def is_storable(text: str) -> bool:
    """PostgreSQL stores no NUL in text, and neither database stores unpaired surrogates."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text))


def storable(text: str) -> str:
    """A storable version of text that a function wrote."""
    if is_storable(text):
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def new_rows(news: Iterable[NewInvocation], clock: QueueClock, now: float) -> list[dict[str, Any]]:
    """All columns except `seq`, for rows that wait to be claimed. `now` is the queue's time."""
    wall = clock.wall()
    ahead = now - wall
    # Rounded to milliseconds, as the API shows it, so that filters by the shown time match.
    enqueued_at = math.floor(wall * 1000) / 1000
    return [
        {
            "service": new.target.service,
            "function": new.target.function,
            "qualifier": new.target.qualifier,
            "invocation_id": new.invocation_id,
            "request_id": new.request_id,
            "stateful": new.stateful,
            "source": new.source,
            "state": _ENQUEUED,
            "due_at": now if new.not_before <= wall else new.not_before + ahead,
            "enqueued_at": enqueued_at,
            "expires_at": new.expires_at + ahead,
            "epoch": 0,
            "holder": "",
            "events": "",
            "meta": None if new.meta == NO_META else _encode_meta(new.meta),
            "payload": new.payload,
        }
        for new in news
    ]


def leased_at_once(seq: int, new: NewInvocation, enqueued_at: float) -> Leased:
    """The lease of an invocation that was never claimed before."""
    return Leased(
        seq=seq,
        epoch=1,
        target=new.target,
        invocation_id=new.invocation_id,
        request_id=new.request_id,
        payload=new.payload,
        stateful=new.stateful,
        source=new.source,
        attempts=0,
        throttles=0,
        enqueued_at=enqueued_at,
        expires_at=new.expires_at,
        meta=new.meta,
    )


def leased_of(row: Sequence[Any], ahead: float) -> Leased:
    """From `LEASED_COLUMNS`. `ahead` is the difference between the queue's time and the wall clock."""
    (
        seq,
        epoch,
        service,
        qualifier,
        function,
        invocation_id,
        request_id,
        payload,
        stateful,
        source,
        attempts,
        throttles,
        enqueued_at,
        expires_at,
        last_error,
        meta,
        _state,
    ) = row
    return Leased(
        seq=seq,
        epoch=epoch,
        target=Target(service, qualifier, function),
        invocation_id=invocation_id,
        request_id=request_id,
        payload=payload,
        stateful=bool(stateful),
        source=source,
        attempts=attempts,
        throttles=throttles,
        enqueued_at=enqueued_at,
        expires_at=expires_at - ahead,
        last_error=last_error,
        meta=meta_of(meta),
    )


def record_of(row: Any, ahead: float) -> AsyncInvocation:
    """From `RECORD_COLUMNS`, with or without `payload`."""
    return AsyncInvocation(
        seq=row.seq,
        target=Target(row.service, row.qualifier, row.function),
        invocation_id=row.invocation_id,
        request_id=row.request_id,
        payload=getattr(row, "payload", None),
        stateful=row.stateful,
        source=row.source,
        state=State(row.state),
        enqueued_at=row.enqueued_at,
        expires_at=row.expires_at - ahead,
        next_at=None if row.due_at is None else row.due_at - ahead,
        attempts=row.attempts,
        throttles=row.throttles,
        epoch=row.epoch,
        holder=row.holder,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=row.error,
        return_payload=row.return_payload or b"",
        return_bytes=row.return_bytes,
        instance_id=row.instance_id,
        duration_ms=row.duration_ms,
        destination_status=row.destination_status,
        events=events_of(row.events, row.enqueued_at),
        meta=meta_of(row.meta),
    )


def meta_of(encoded: bytes | None) -> InvocationMeta:
    return NO_META if encoded is None else _decode_meta(encoded)
