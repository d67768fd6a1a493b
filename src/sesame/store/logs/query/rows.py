"""One log with the place that it has in its logstore, and the fields that the API shows of it."""

import msgspec

Pairs = tuple[tuple[str, str], ...]


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """`seq` is unique in the logstore and rises in the order of writing. Of contents with one name the last counts."""

    seq: int
    time_s: int
    time_ns: int
    topic: str
    source: str
    tags: Pairs
    contents: Pairs


def row_fields(row: LogRow) -> dict[str, str]:
    """What GetLogs answers for one log: every value is a string."""
    fields = {"__source__": row.source, "__time__": str(row.time_s), "__topic__": row.topic}
    if row.time_ns:
        fields["__time_ns_part__"] = str(row.time_ns)
    fields.update((f"__tag__:{name}", value) for name, value in row.tags)
    fields.update(row.contents)
    return fields
