"""Logs triggers that do not fire on this server, at start-up and whenever one is created or changed.

Opened by `app`. Such triggers are stored, as the API requires, and `sesame triggers fire` calls their functions by
hand.
"""

from collections.abc import Callable

import structlog

from sesame.model import records
from sesame.model.owner import trigger_label
from sesame.model.records import Record
from sesame.model.trigger import Trigger
from sesame.model.trigger_firing import DISABLED, why_silent
from sesame.store.catalog import Catalog, Change

NAMED_MAX = 10
NEXT_STEP = "sesame triggers fire calls the function by hand"

# Why the role of a function's trigger does not let it fire; "" if it does.
Objection = Callable[[str, str, Trigger], str]

log = structlog.get_logger(__name__)


def tell_silent_triggers(catalog: Catalog, objection: Objection) -> None:
    """Logs one line for each reason now, and one for each such trigger that is created or changed later.

    `objection` returns why a trigger's role does not let it fire.
    """
    by_reason: dict[str, list[str]] = {}
    for record in catalog.of_kind(records.TRIGGER):
        if reason := _reason(record, objection):
            by_reason.setdefault(reason, []).append(trigger_label(record.parent, record.name))
    for reason, names in by_reason.items():
        shown = ", ".join(names[:NAMED_MAX]) + (" …" if len(names) > NAMED_MAX else "")
        log.warning(
            "triggers do not fire on this server", count=len(names), triggers=shown, reason=reason, next_step=NEXT_STEP
        )
    catalog.on_change(lambda change: _tell(change, objection))


def _tell(change: Change, objection: Objection) -> None:
    if change.kind != records.TRIGGER or change.record is None:
        return
    if reason := _reason(change.record, objection):
        trigger: Trigger = change.record.document
        log.warning(
            "a trigger does not fire on this server", trigger=trigger_label(change.parent, change.name),
            type=trigger.trigger_type, reason=reason, next_step=NEXT_STEP,
        )  # fmt: skip


def _reason(record: Record, objection: Objection) -> str:
    """Why the trigger does not fire; "" if it fires, or if its owner has disabled it."""
    trigger: Trigger = record.document
    reason = why_silent(trigger.trigger_type, trigger.trigger_config)
    if reason == DISABLED:
        return ""
    service, _slash, function = record.parent.partition("/")
    return reason or objection(service, function, trigger)
