"""Converts triggers into the answers of Sesame's own operations on them.

Called by `fc.v2016.routes.own_triggers`.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from sesame.model.records import Record
from sesame.model.trigger import Trigger
from sesame.model.trigger_firing import why_silent

# Returns why the trigger's role prevents it from firing, or "".
Objection = Callable[[str, str, Trigger], str]


class TriggerOverview(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`silentBecause` states why the trigger does not fire; empty if it does."""

    service_name: str
    function_name: str
    trigger_name: str
    trigger_type: str
    qualifier: str
    source_arn: str | None
    trigger_config: dict[str, Any]
    silent_because: str


class Fired(msgspec.Struct, frozen=True, rename="camel"):
    """The invocation, which is now in the queue."""

    service_name: str
    qualifier: str
    function_name: str
    invocation_id: str


def overview(record: Record, objection: Objection) -> TriggerOverview:
    """`objection` is only consulted if nothing else keeps the trigger from firing."""
    trigger: Trigger = record.document
    service, _slash, function = record.parent.partition("/")
    silent_because = why_silent(trigger.trigger_type, trigger.trigger_config)
    return TriggerOverview(
        service_name=service,
        function_name=function,
        trigger_name=trigger.trigger_name,
        trigger_type=trigger.trigger_type,
        qualifier=trigger.qualifier,
        source_arn=trigger.source_arn,
        trigger_config=trigger.trigger_config,
        silent_because=silent_because or objection(service, function, trigger),
    )
