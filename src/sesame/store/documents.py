"""Encodes documents of the catalog to JSON and decodes them, by kind.

Used by `store.catalog`, and by `store.upkeep`, which reads beside a running Sesame.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from sesame.model.errors import ConfigurationError
from sesame.model.kinds import KINDS
from sesame.model.records import Record
from sesame.store.sql.refusals import NEXT_STEPS
from sesame.store.sql.schema import records


def decode_records(connection: sa.Connection, kinds: Mapping[str, type] = KINDS) -> Iterator[Record]:
    """Every record, in any process. Raises `ConfigurationError` on a document that this version does not know."""
    codec = Codec(kinds)
    return (codec.record(row) for row in connection.execute(sa.select(records)))


class Codec:
    """Encodes documents to JSON and decodes them, by kind."""

    def __init__(self, kinds: Mapping[str, type]) -> None:
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {
            kind: msgspec.json.Decoder(document) for kind, document in kinds.items()
        }
        self._types = dict(kinds)
        self._encoder = msgspec.json.Encoder()

    def encode(self, record: Record) -> bytes:
        expected = self._types[record.kind]
        assert type(record.document) is expected, f"{record.kind} holds {expected.__name__}"
        return self._encoder.encode(record.document)

    def record(self, row: Any) -> Record:
        """Decodes a row of the table, or an object with the same fields."""
        decoder = self._decoders.get(row.kind)
        try:
            if decoder is None:
                raise ConfigurationError(
                    f"the catalog holds a record of the unknown kind '{row.kind}': a newer Sesame wrote it, or the "
                    f"database is damaged. {NEXT_STEPS}"
                )
            document = decoder.decode(row.document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"the catalog's {row.kind} '{row.name}' (under '{row.parent}') cannot be read: {error}. {NEXT_STEPS}"
            ) from error
        return Record(row.kind, row.parent, row.name, document, row.etag, row.created_at, row.modified_at)
