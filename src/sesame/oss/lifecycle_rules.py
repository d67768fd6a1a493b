"""Lifecycle rules of a bucket as XML: PutBucketLifecycle, GetBucketLifecycle, DeleteBucketLifecycle.

Routed to by `oss.routes`. Refuses rules that `oss.lifecycle` would not apply.
"""

import re
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from xml.etree.ElementTree import Element

from sesame.model.lifecycle import Due, DueKind, Excluded, LifecycleRule, Transition
from sesame.model.natural import natural
from sesame.oss import xml
from sesame.oss.access_settings import change_bucket
from sesame.oss.answers import Answer, xml_answer, xml_time
from sesame.oss.calls import Call
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.metadata import STORAGE_CLASSES
from sesame.oss.request import KEY_BYTES_MAX

RULES_MAX, RULE_ID_CHARS_MAX, TAGS_MAX, DAYS_MAX = 1000, 255, 100, 2**31 - 1
OVERLAP_HEADER = "x-oss-allow-same-action-overlap"
_UNDERSTOOD = frozenset(
    {"ID", "Prefix", "Status", "Expiration", "AbortMultipartUpload", "Transition", "Tag", "Filter"}
)  # fmt: skip
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z\Z")
_TAG_TEXT = re.compile(r"[\w +=.:/-]{0,1024}\Z")


async def get_lifecycle(call: Call) -> Answer:
    if not call.bucket.lifecycle:
        raise OssError("NoSuchLifecycle", details={"BucketName": call.bucket.bucket_name})
    return xml_answer("LifecycleConfiguration", [("Rule", _elements(rule)) for rule in call.bucket.lifecycle])


async def put_lifecycle(call: Call) -> Answer:
    root = await xml.read(call.body, "LifecycleConfiguration")
    found = root.findall("Rule")
    if not 1 <= len(found) <= RULES_MAX:
        raise OssError("MalformedXML")
    rules = tuple(_read_rule(element) for element in found)
    repeated = [rule_id for rule_id, count in Counter(rule.rule_id for rule in rules).items() if count > 1]
    if repeated:
        raise invalid_argument("ID", repeated[0], "The ID of a lifecycle rule must be unique.")
    if call.request.header(OVERLAP_HEADER).lower() != "true":
        _check_overlap(rules)
    await change_bucket(call, lifecycle=rules)
    return Answer()


async def delete_lifecycle(call: Call) -> Answer:
    await change_bucket(call, lifecycle=())
    return Answer(status=204)


def _read_rule(element: Element) -> LifecycleRule:
    for child in element:
        if child.tag not in _UNDERSTOOD and not _repeats_expiration(child, element):
            raise OssError("NotImplemented", details={"Element": child.tag})
    rule_id, status, prefix = (xml.text(element, name) for name in ("ID", "Status", "Prefix"))
    if status not in ("Enabled", "Disabled") or len(prefix.encode()) > KEY_BYTES_MAX:
        raise OssError("MalformedXML", details={"Status": status})
    if len(rule_id) > RULE_ID_CHARS_MAX:
        raise invalid_argument("ID", rule_id)
    expiration, abort = element.find("Expiration"), element.find("AbortMultipartUpload")
    conditions = element.find("Filter")
    rule = LifecycleRule(
        rule_id=rule_id or str(uuid.uuid4()),
        prefix=prefix,
        enabled=status == "Enabled",
        expiration=_due(expiration, tuple(DueKind)) if expiration is not None else None,
        abort_uploads=_due(abort, (DueKind.DAYS, DueKind.CREATED_BEFORE_DATE)) if abort is not None else None,
        transitions=tuple(_transition(child) for child in element.findall("Transition")),
        tags=tuple(_tag(child) for child in element.findall("Tag")),
        larger_than=_size(conditions, "ObjectSizeGreaterThan"),
        smaller_than=_size(conditions, "ObjectSizeLessThan"),
        excluded=tuple(_excluded(child, prefix) for child in conditions.findall("Not"))
        if conditions is not None
        else (),
    )
    _check_rule(rule)
    return rule


def _repeats_expiration(child: Element, rule: Element) -> bool:
    """Whether `child` repeats the expiration's days or date, as the official Node.js client writes them."""
    expiration = rule.find("Expiration")
    if expiration is None or child.tag not in ("Days", "Date") or not child.text:
        return False
    names = ("Days",) if child.tag == "Days" else ("Date", "CreatedBeforeDate")
    return child.text in [xml.text(expiration, name) for name in names]


def _due(element: Element, kinds: tuple[DueKind, ...]) -> Due:
    if xml.flag(element, "ExpiredObjectDeleteMarker"):
        raise OssError("NotImplemented", details={"Element": "ExpiredObjectDeleteMarker"})
    given = [kind for kind in kinds if element.find(kind.value) is not None]
    if len(given) != 1:
        raise OssError("MalformedXML")
    written = xml.text(element, given[0].value).strip()
    if given[0] is DueKind.DAYS:
        days = natural(written, DAYS_MAX)
        if not days:
            raise invalid_argument("Days", written, "Days of a lifecycle rule must be a positive integer.")
        return Due(DueKind.DAYS, days=days)
    return Due(given[0], date=_date(written))


def _date(written: str) -> float:
    if _DATE.match(written):
        try:
            return datetime.fromisoformat(written.removesuffix("Z")).replace(tzinfo=UTC).timestamp()
        except ValueError:
            pass
    raise invalid_argument("Date", written, "A date must be written as 2026-01-02T00:00:00.000Z.")


def _transition(element: Element) -> Transition:
    for name in ("IsAccessTime", "ReturnToStdWhenVisit"):
        if xml.flag(element, name):
            raise OssError("NotImplemented", details={"Element": name})
    storage_class = xml.text(element, "StorageClass")
    if storage_class not in STORAGE_CLASSES[1:]:
        raise invalid_argument("StorageClass", storage_class)
    small_too = element.find("AllowSmallFile") is None or xml.flag(element, "AllowSmallFile")
    return Transition(storage_class, _due(element, (DueKind.DAYS, DueKind.CREATED_BEFORE_DATE)), small_too)


def _tag(element: Element) -> tuple[str, str]:
    name, value = xml.text(element, "Key"), xml.text(element, "Value")
    if not name or not _TAG_TEXT.match(name) or not _TAG_TEXT.match(value):
        raise invalid_argument("Tag", f"{name}={value}"[:256])
    return name, value


def _size(conditions: Element | None, name: str) -> int | None:
    if conditions is None or conditions.find(name) is None:
        return None
    size = natural(xml.text(conditions, name))
    if size is None:
        raise invalid_argument(name, xml.text(conditions, name)[:64])
    return size


def _excluded(element: Element, prefix: str) -> Excluded:
    excluded, tag = xml.text(element, "Prefix"), element.find("Tag")
    if not excluded.startswith(prefix) or (excluded == prefix and tag is None):
        raise invalid_argument("Not", excluded[:256], "The prefix of Not must lie below the prefix of its rule.")
    return Excluded(excluded, _tag(tag) if tag is not None else None)


def _check_rule(rule: LifecycleRule) -> None:
    """Raises OssError MalformedXML, InvalidArgument, InvalidRequest."""
    moves = [transition.due for transition in rule.transitions]
    if not (rule.expiration or rule.abort_uploads or moves):
        raise OssError("MalformedXML", "A lifecycle rule needs an action.")
    if len(rule.tags) > TAGS_MAX or len(dict(rule.tags)) < len(rule.tags):
        raise invalid_argument("Tag", str(len(rule.tags)))
    classes = [STORAGE_CLASSES.index(transition.storage_class) for transition in rule.transitions]
    if len(set(classes)) < len(classes):
        raise invalid_argument("Transition", str(len(classes)), "A rule has one transition to each storage class.")
    kinds = {due.kind is DueKind.DAYS for due in [*moves, *([rule.expiration] if rule.expiration else [])]}
    if len(kinds) > 1:
        raise OssError("InvalidRequest", "Days and dates cannot be mixed in one lifecycle rule.")
    # Colder classes come later, and expiration comes last.
    ordered = [due.days for _, due in sorted(zip(classes, moves, strict=True), key=lambda pair: pair[0])]
    if rule.expiration:
        ordered.append(rule.expiration.days)
    if kinds == {True} and any(later <= earlier for earlier, later in pairwise(ordered)):
        raise invalid_argument("Days", str(ordered), "Days must grow with the coldness of the class, up to expiration.")


def _check_overlap(rules: tuple[LifecycleRule, ...]) -> None:
    """Raises OssError InvalidArgument if two rules apply the same action to the same objects."""
    actions: tuple[tuple[str, Callable[[LifecycleRule], object]], ...] = (
        ("Expiration", lambda rule: rule.expiration),
        ("AbortMultipartUpload", lambda rule: rule.abort_uploads),
        ("Transition", lambda rule: rule.transitions),
    )
    for name, acts in actions:
        prefixes = sorted(rule.prefix for rule in rules if rule.enabled and not rule.tags and acts(rule))
        # In sorted order, a prefix directly precedes the first string that starts with it.
        if any(longer.startswith(shorter) for shorter, longer in pairwise(prefixes)):
            raise OssError("InvalidArgument", f"Overlap for same action type {name}")


def _elements(rule: LifecycleRule) -> list[xml.Element]:
    conditions: list[xml.Element] = [
        ("ObjectSizeGreaterThan", rule.larger_than) if rule.larger_than is not None else None,
        ("ObjectSizeLessThan", rule.smaller_than) if rule.smaller_than is not None else None,
        *(("Not", [("Prefix", one.prefix), _tag_element(one.tag) if one.tag else None]) for one in rule.excluded),
    ]
    return [
        ("ID", rule.rule_id),
        ("Prefix", rule.prefix),
        ("Status", "Enabled" if rule.enabled else "Disabled"),
        *(_tag_element(tag) for tag in rule.tags),
        ("Filter", conditions) if any(conditions) else None,
        ("Expiration", [_due_element(rule.expiration)]) if rule.expiration else None,
        *(("Transition", _transition_elements(transition)) for transition in rule.transitions),
        ("AbortMultipartUpload", [_due_element(rule.abort_uploads)]) if rule.abort_uploads else None,
    ]


def _transition_elements(transition: Transition) -> list[xml.Element]:
    return [
        _due_element(transition.due),
        ("StorageClass", transition.storage_class),
        ("IsAccessTime", False),
        ("AllowSmallFile", False) if not transition.small_too else None,
    ]


def _due_element(due: Due) -> xml.Element:
    return (due.kind.value, due.days if due.kind is DueKind.DAYS else xml_time(due.date))


def _tag_element(tag: tuple[str, str]) -> xml.Element:
    return ("Tag", [("Key", tag[0]), ("Value", tag[1])])
