"""The steps of an invocation's life, as text to which each change appends without reading it.

Used by the statements that change a row and by `store.queue.pages`. Each step is `,["status",time,"detail"]`. Enqueuing
is not recorded as a step, because the row contains its time.
"""

import msgspec
import sqlalchemy as sa

from sesame.model.async_invocation import InvocationEvent, State
from sesame.model.shortened import shortened
from sesame.store.sql.queue_schema import invocations

# For an invocation that is throttled for days, only the last of the later steps is kept.
EVENTS_CHARS_MAX = 8000
DETAIL_CHARS_MAX = 1000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[tuple[str, float, str]]).decode


def step(state: State, at: float, detail: str = "") -> str:
    text = _encode(shortened(detail, DETAIL_CHARS_MAX)).decode() if detail else '""'
    return f',["{state}",{at:.6f},{text}]'


def appended(steps: "sa.ColumnElement[str]") -> "sa.ColumnElement[str]":
    """The new value of the column: with these steps, unless it is full."""
    column = invocations.c.events
    return sa.case((sa.func.length(column) < EVENTS_CHARS_MAX, column.concat(steps)), else_=column)


def events_of(text: str, enqueued_at: float) -> tuple[InvocationEvent, ...]:
    later = _decode(f"[{text[1:]}]")
    steps = [(State.ENQUEUED.value, enqueued_at, ""), *later]
    return tuple(
        InvocationEvent(number, status, timestamp, detail)
        for number, (status, timestamp, detail) in enumerate(steps, 1)
    )
