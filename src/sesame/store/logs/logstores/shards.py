"""The shards of a logstore: equal ranges of 128-bit hash keys, as many as it was made with."""

import bisect
import functools
from collections.abc import Sequence

from sesame.model.errors import Invalid, NotFound
from sesame.model.logstore import LOG_SHARD, Logstore
from sesame.store.logs.logstores.interface import Shard

_KEY_BITS = 128
_KEY_DIGITS = _KEY_BITS // 4
_LAST_KEY = "f" * _KEY_DIGITS


@functools.cache
def _begins(count: int) -> tuple[int, ...]:
    return tuple((number << _KEY_BITS) // count for number in range(count))


def shards_of(logstore: Logstore) -> Sequence[Shard]:
    begins = [f"{begin:0{_KEY_DIGITS}x}" for begin in _begins(logstore.shards)]
    ends = [*begins[1:], _LAST_KEY]
    return [
        Shard(number, "readwrite", begin, end, logstore.created_s)
        for number, (begin, end) in enumerate(zip(begins, ends, strict=True))
    ]


def shard_of_key(logstore: Logstore, hash_key: str) -> int:
    """Raises `Invalid` unless the key is 32 hexadecimal digits."""
    try:
        key = int(hash_key, 16) if len(hash_key) == _KEY_DIGITS and hash_key.isalnum() else -1
    except ValueError:
        key = -1
    if key < 0:
        raise Invalid("hash_key", f"{_KEY_DIGITS} hexadecimal digits", hash_key)
    return bisect.bisect_right(_begins(logstore.shards), key) - 1


def require_shard(logstore: Logstore, shard: int) -> None:
    if not 0 <= shard < logstore.shards:
        raise NotFound(LOG_SHARD, str(shard), (logstore.project, logstore.name))
