"""A log with its position in its logstore, and its fields as the API shows them."""

import msgspec

Pairs = tuple[tuple[str, str], ...]


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """`seq` is unique in the logstore and increases in writing order. Of repeated names the last value counts."""

    seq: int
    time_s: int
    time_ns: int
    topic: str
    source: str
    tags: Pairs
    contents: Pairs


def row_fields(row: LogRow) -> dict[str, str]:
    """A log as returned by GetLogs: every value is a string."""
    fields = {"__source__": row.source, "__time__": str(row.time_s), "__topic__": row.topic}
    if row.time_ns:
        fields["__time_ns_part__"] = str(row.time_ns)
    fields.update((f"__tag__:{name}", value) for name, value in row.tags)
    fields.update(row.contents)
    return fields
