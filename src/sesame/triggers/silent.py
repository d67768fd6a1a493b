"""Says in the log which triggers never fire here: at the start, and whenever one is made or changed.

Opened by `app`. They are stored, as the API requires, and `sesame triggers fire` calls their functions by hand.
"""

import structlog

from sesame.model import records
from sesame.model.records import Record
from sesame.model.trigger import Trigger
from sesame.model.trigger_firing import DISABLED, why_silent
from sesame.store.catalog import Catalog, Change

NAMED_MAX = 10
NEXT_STEP = "sesame triggers fire calls the function by hand"

log = structlog.get_logger(__name__)


def tell_silent_triggers(catalog: Catalog) -> None:
    """One line for each reason now, and one for each such trigger that is made or changed from now on."""
    by_reason: dict[str, list[str]] = {}
    for record in catalog.of_kind(records.TRIGGER):
        if reason := _reason(record):
            by_reason.setdefault(reason, []).append(f"{record.parent}/{record.name}")
    for reason, names in by_reason.items():
        shown = ", ".join(names[:NAMED_MAX]) + (" …" if len(names) > NAMED_MAX else "")
        log.warning("triggers never fire here", count=len(names), triggers=shown, reason=reason, next_step=NEXT_STEP)
    catalog.on_change(_tell)


def _tell(change: Change) -> None:
    if change.kind != records.TRIGGER or change.record is None:
        return
    if reason := _reason(change.record):
        trigger: Trigger = change.record.document
        log.warning(
            "a trigger never fires here", trigger=f"{change.parent}/{change.name}", type=trigger.trigger_type,
            reason=reason, next_step=NEXT_STEP,
        )  # fmt: skip


def _reason(record: Record) -> str:
    """ "" for what fires, and for what its owner has disabled."""
    trigger: Trigger = record.document
    reason = why_silent(trigger.trigger_type, trigger.trigger_config)
    return "" if reason == DISABLED else reason
