"""Checks a trigger on a bucket: its source, its events, and that no event would call two functions.

Called by `control.triggers` in the transaction that writes the trigger.
"""

from sesame.control.requester import Requester
from sesame.model import object_event, records
from sesame.model import trigger_configs as configs
from sesame.model.arn import Arns
from sesame.model.errors import SOURCE_BUCKET, Invalid, NotFound, Overlapping
from sesame.model.owner import label
from sesame.model.records import Record
from sesame.model.trigger import Trigger, bucket_of
from sesame.store.catalog import Transaction

# The settings that select a bucket's events.
SELECTING = ("events", "filter")
_SUBSCRIBE = "oss:PutBucketEventNotification"


def require_source(trigger: Trigger, arns: Arns, by: Requester) -> None:
    """Raises `Invalid` unless the source is a bucket of this account and region, `Forbidden` for a caller without
    permission to be notified of its events.
    """
    if trigger.trigger_type != configs.OSS:
        return
    bucket = bucket_of(trigger)
    if not bucket or trigger.source_arn != arns.bucket(bucket):
        raise Invalid("source_arn", arns.bucket("<bucket>"), trigger.source_arn)
    by.require(_SUBSCRIBE, f"acs:oss:oss-{arns.region}:{arns.account_id}:{bucket}")


def require_no_overlap(tx: Transaction, parent: str, trigger: Trigger, account_id: str) -> None:
    """Raises `NotFound` if the account has no such bucket, `Overlapping` if another trigger has events in common.

    `parent` is the function's, as returned by `trigger_parent`.
    """
    if trigger.trigger_type != configs.OSS:
        return
    bucket = bucket_of(trigger)
    found = tx.get(records.BUCKET, "", bucket)
    if found is None or found.document.account_id != account_id:
        raise NotFound(SOURCE_BUCKET, bucket)
    for record in tx.of_kind(records.TRIGGER):
        if (record.parent, record.name) != (parent, trigger.trigger_name) and _overlap(trigger, record):
            owner, _slash, function = record.parent.partition("/")
            raise Overlapping(trigger.trigger_name, f"{label(owner, function)}/{record.name}", bucket)


def _overlap(trigger: Trigger, record: Record) -> bool:
    """Whether some event of some key belongs to both."""
    other: Trigger = record.document
    if other.trigger_type != configs.OSS or bucket_of(other) != bucket_of(trigger):
        return False
    mine, theirs = _config(trigger), _config(other)
    one, two = mine.filter.key, theirs.filter.key
    return (
        not object_event.named_by_any(mine.events).isdisjoint(object_event.named_by_any(theirs.events))
        and (one.prefix.startswith(two.prefix) or two.prefix.startswith(one.prefix))
        and (one.suffix.endswith(two.suffix) or two.suffix.endswith(one.suffix))
    )


def _config(trigger: Trigger) -> configs.OssConfig:
    return configs.read_oss(trigger.trigger_config)
