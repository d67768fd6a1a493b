"""The shards of a logstore: ranges of 128-bit hash keys, which may be split and merged.

A shard that was split or merged is closed: it accepts no logs and is read to its end. Pure functions over
`Logstore`; `metadata` stores the results.
"""

import functools
import itertools
from collections.abc import Iterable, Sequence

import msgspec

from sesame.model.errors import Invalid, NotFound
from sesame.model.logstore import LOG_SHARD, Logstore, ShardRange
from sesame.store.logs.logstores.interface import Shard

KEY_BITS = 128
KEY_DIGITS = KEY_BITS // 4
LAST_KEY = "f" * KEY_DIGITS
# POLICY: the cloud's limit of the open shards; closed ones count too until their logs are deleted.
OPEN_MAX, ALL_MAX = 256, 1024


def key_text(key: int) -> str:
    return f"{key:0{KEY_DIGITS}x}"


def ranges_of(logstore: Logstore) -> Sequence[ShardRange]:
    """In the order of their numbers."""
    return logstore.layout or _equal(logstore.shards, logstore.created_s)


@functools.lru_cache(maxsize=1024)
def _equal(count: int, created_s: int) -> tuple[ShardRange, ...]:
    edges = [key_text((number << KEY_BITS) // count) for number in range(count)] + [LAST_KEY]
    return tuple(ShardRange(number, edges[number], edges[number + 1], created_s) for number in range(count))


def shards_of(logstore: Logstore) -> Sequence[Shard]:
    return [
        Shard(each.id, "readonly" if each.closed_s else "readwrite", each.begin, each.end, each.created_s)
        for each in ranges_of(logstore)
    ]


def check_key(hash_key: str) -> None:
    """Raises `Invalid` unless the key is 32 hexadecimal digits."""
    if len(hash_key) != KEY_DIGITS or any(digit not in "0123456789abcdef" for digit in hash_key):
        raise Invalid("hash_key", f"{KEY_DIGITS} hexadecimal digits", hash_key)


def shard_for(logstore: Logstore, hash_key: str, turn: int) -> int:
    """The open shard that contains the key; without a key, the one chosen by `turn`."""
    if not logstore.layout and not hash_key:
        return turn % logstore.shards
    taking = [each for each in ranges_of(logstore) if not each.closed_s]
    if not hash_key:
        return taking[turn % len(taking)].id
    return max(taking, key=lambda each: (each.begin <= hash_key, each.begin)).id


def require_shard(logstore: Logstore, shard: int) -> ShardRange:
    for each in ranges_of(logstore):
        if each.id == shard:
            return each
    raise NotFound(LOG_SHARD, str(shard), (logstore.project, logstore.name))


def split(logstore: Logstore, shard: int, keys: Sequence[str], now_s: int) -> Logstore:
    """Closes the shard and opens new ones that start at its start and at each key. Raises `NotFound`, `Invalid`."""
    parent = _require_open(logstore, shard)
    edges = [parent.begin, *keys, parent.end]
    if any(before >= after for before, after in itertools.pairwise(edges)):
        raise Invalid("key", f"keys between {parent.begin} and {parent.end}", ", ".join(keys))
    return _replaced(logstore, (parent,), edges, now_s)


def middles(logstore: Logstore, shard: int, count: int) -> list[str]:
    """The keys that divide a shard into `count` equal ones."""
    parent = require_shard(logstore, shard)
    begin, end = int(parent.begin, 16), int(parent.end, 16)
    return [key_text(begin + (end - begin) * number // count) for number in range(1, count)]


def merge(logstore: Logstore, shard: int, now_s: int) -> Logstore:
    """Closes the shard and the next one, and opens one in their place. Raises `NotFound`, `Invalid`."""
    left = _require_open(logstore, shard)
    for right in ranges_of(logstore):
        if right.begin == left.end and not right.closed_s:
            return _replaced(logstore, (left, right), [left.begin, right.end], now_s)
    raise Invalid("shard", "one that another open shard follows", shard)


def without_expired(logstore: Logstore, before_s: int) -> Logstore:
    """Without the shards that were closed before that, because their logs are deleted."""
    kept = tuple(each for each in logstore.layout if not each.closed_s or each.closed_s >= before_s)
    return msgspec.structs.replace(logstore, layout=kept)


def _require_open(logstore: Logstore, shard: int) -> ShardRange:
    found = require_shard(logstore, shard)
    if found.closed_s:
        raise Invalid("shard", "one whose status is readwrite", f"{shard}, which is readonly")
    return found


def _replaced(logstore: Logstore, parents: Iterable[ShardRange], edges: Sequence[str], now_s: int) -> Logstore:
    former = ranges_of(logstore)
    closed = {each.id: msgspec.structs.replace(each, closed_s=now_s) for each in parents}
    first = max(logstore.next_shard, former[-1].id + 1)
    made = [
        ShardRange(first + number, begin, end, now_s, parents=tuple(closed))
        for number, (begin, end) in enumerate(itertools.pairwise(edges))
    ]
    layout = (*(closed.get(each.id, each) for each in former), *made)
    taking = sum(not each.closed_s for each in layout)
    if taking > OPEN_MAX or len(layout) > ALL_MAX:
        raise Invalid("shard", f"at most {OPEN_MAX} readwrite shards, and {ALL_MAX} with readonly ones", taking)
    return msgspec.structs.replace(logstore, shards=taking, layout=layout, next_shard=first + len(made))
