"""A record of the catalog as the writer sends it to followers, in `agents.messages.Records`."""

import msgspec


class CatalogRecord(msgspec.Struct, frozen=True, array_like=True):
    """`document` is the record's JSON, None if the record was deleted. Times are in seconds since the epoch."""

    kind: str
    parent: str
    name: str
    document: bytes | None
    etag: str
    created_at: float
    modified_at: float
    revision: int
