"""A record of the catalog as the writer sends it to followers.

Sent in `agents.messages.Records`.
"""

import msgspec


class CatalogRecord(msgspec.Struct, frozen=True, array_like=True):
    """With no `document`, the record was deleted. `document` is its JSON."""

    kind: str
    parent: str
    name: str
    document: bytes | None
    etag: str
    created_at: float
    modified_at: float
    revision: int
