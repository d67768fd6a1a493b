"""Stores the nonces of requests to a cluster, for the next writer. Opened by `_nonces`.

A row contains all nonces of a moment, so that they share one commit.
"""

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from sesame.store.sql.database import Database
from sesame.store.sql.nonce_schema import used_nonces

ROWS_AT_ONCE = 500


class NonceRows:
    """`wall` in Unix seconds; a digest has `digest_bytes`. Raises `PlatformError` if the database is unavailable."""

    def __init__(self, database: Database, wall: Callable[[], float], digest_bytes: int, keep_s: float) -> None:
        self._database = database
        self._wall = wall
        self._digest_bytes = digest_bytes
        # Twice as long, because the next writer's clock may differ.
        self._keep_s = 2 * keep_s

    async def add(self, digests: Sequence[bytes]) -> None:
        """Stores the digests and deletes rows that are too old."""
        now = self._wall()
        row = {"at": now, "digests": b"".join(digests)}

        def act(connection: sa.Connection) -> None:
            connection.execute(sa.insert(used_nonces), row)
            connection.execute(sa.delete(used_nonces).where(used_nonces.c.at < now - self._keep_s))

        await self._database.write(act)

    async def newest(self, most: int) -> list[bytes]:
        """About the `most` newest digests."""
        chosen = sa.select(used_nonces.c.digests).order_by(used_nonces.c.number.desc())

        def act(connection: sa.Connection) -> list[bytes]:
            found: list[bytes] = []
            for (joined,) in connection.execute(chosen.execution_options(yield_per=ROWS_AT_ONCE)):
                size = self._digest_bytes
                found += (joined[at : at + size] for at in range(0, len(joined), size))
                if len(found) >= most:
                    break
            return found

        return await self._database.read(act)
