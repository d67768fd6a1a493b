"""Nonces are known to the next writer, on each database. Run by pytest."""

from sesame.identity.nonces import DIGEST_BYTES, UsedNonces, digest_of
from sesame.store.nonces import NonceRows
from sesame.store.sql.database import Database

KEEP_S = 1_800.0


class Wall:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def digests(count: int, key: str = "key") -> list[bytes]:
    return [digest_of(key, b"%d" % number) for number in range(count)]


async def test_what_was_used_is_used_for_the_next_writer(database: Database) -> None:
    wall = Wall()
    rows = NonceRows(database, wall, DIGEST_BYTES, KEEP_S)
    first = UsedNonces(wall)
    first.remember(await rows.newest(100))
    assert first.use("key", b"1")
    assert first.use("key", b"2")
    assert not first.use("key", b"1")
    await rows.add(first.take_noted())
    assert first.take_noted() == []
    second = UsedNonces(wall)
    second.remember(await rows.newest(100))
    assert not second.use("key", b"2")
    assert second.use("another", b"2")
    assert second.use("key", b"3")
    # It notes what it has seen itself.
    assert second.take_noted() == [digest_of("another", b"2"), digest_of("key", b"3")]


async def test_rows_that_no_clock_needs_any_more_go(database: Database) -> None:
    wall = Wall()
    rows = NonceRows(database, wall, DIGEST_BYTES, KEEP_S)
    await rows.add(digests(3))
    wall.now_s += 2 * KEEP_S
    await rows.add(digests(2, "later"))
    assert sorted(await rows.newest(100)) == sorted(digests(3) + digests(2, "later"))
    wall.now_s += 1.0
    await rows.add(digests(1, "last"))
    assert sorted(await rows.newest(100)) == sorted(digests(2, "later") + digests(1, "last"))
    # The newest rows, and not more of them than it takes.
    assert await rows.newest(1) == digests(1, "last")
