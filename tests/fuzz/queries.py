"""Searches and SQL of the Log Service: each is answered, or refused in the Log Service's words."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.store.query.test_fuzz import KNOWN, TOKENS, ask
from tests.support.fuzzing import Kind, Try

from sesame.store.logs.query.engine import Limits, LogQueries


@contextlib.contextmanager
def opened() -> Iterator[Try]:
    with tempfile.TemporaryDirectory() as folder:
        queries = LogQueries(Path(folder), Limits(memory_mb=512, threads=1))
        yield lambda data: ask(queries, data.decode("utf-8", "replace"))
        queries.close()


KIND = Kind(
    seeds=[text.encode() for text in KNOWN],
    words=[token.encode() for token in TOKENS] + [b"--", b"/*", b"||", b"$1", b"1e999", b"not ", b"((", b"| select "],
    opened=opened,
    examples=40,
)
