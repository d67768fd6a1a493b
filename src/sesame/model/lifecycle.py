"""Rules by which a bucket's objects and uploads expire or change their storage class.

Stored in the bucket's record; read and written by `oss.lifecycle_rules`, applied by `oss.lifecycle`.
Shapes and names follow reference/companions.md §1.12 and the SDKs.
"""

import enum

import msgspec


class DueKind(enum.Enum):
    DAYS = "Days"
    DATE = "Date"
    CREATED_BEFORE_DATE = "CreatedBeforeDate"


class Due(msgspec.Struct, frozen=True):
    """When an action is due: `days` after the last change or, for older objects, from `date` (Unix seconds) on."""

    kind: DueKind
    days: int = 0
    date: float = 0.0


class Transition(msgspec.Struct, frozen=True):
    """A change to a colder storage class; objects below 64 KB are skipped unless `small_too`."""

    storage_class: str
    due: Due
    small_too: bool = True


class Excluded(msgspec.Struct, frozen=True):
    """Objects that a rule skips: those below `prefix` that have the tag, if one is given."""

    prefix: str
    tag: tuple[str, str] | None = None


class LifecycleRule(msgspec.Struct, frozen=True):
    """Applies to objects below `prefix` with all `tags` and a size between `larger_than` and `smaller_than` bytes."""

    rule_id: str
    prefix: str
    enabled: bool
    expiration: Due | None = None
    abort_uploads: Due | None = None
    transitions: tuple[Transition, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    larger_than: int | None = None
    smaller_than: int | None = None
    excluded: tuple[Excluded, ...] = ()
