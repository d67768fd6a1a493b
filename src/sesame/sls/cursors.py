"""Cursors as clients see them: the number of a log group in its shard, in base64.

Used by `sls.shards` and `sls.consumer_groups`. The official clients decode the number and calculate with it.
"""

import base64
import binascii

from sesame.model.natural import natural
from sesame.sls.errors import SlsError
from sesame.sls.request import NUMBER_MAX

CURSOR_CHARS_MAX = 64


def cursor_text(cursor: int) -> str:
    return base64.b64encode(str(cursor).encode()).decode()


def read_cursor(text: str, code: str = "InvalidCursor") -> int:
    """Raises SlsError with `code` for an invalid cursor."""
    try:
        cursor = natural(base64.b64decode(text[:CURSOR_CHARS_MAX].strip(), validate=True).decode(), NUMBER_MAX)
    except (binascii.Error, ValueError):
        cursor = None
    if cursor is None:
        raise SlsError(
            code, f"Invalid cursor '{text[:CURSOR_CHARS_MAX]}': expected one that GetCursor or PullLogs gave"
        )
    return cursor
