"""Records blobs that are being uploaded to a remote store, so that blobs left by a crash can be deleted.

Used by `store.objects.objects`. An announcement is committed before the first byte is stored. It is removed by the
transaction of the row that mentions the blob, or once the blob is deleted. A blob without a row or an announcement
belongs to another copy of the database, and is never deleted.
"""

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from sesame.model.errors import PlatformError
from sesame.store import outbox
from sesame.store.sql.database import Database


class Announcements:
    """`wall` in Unix seconds."""

    def __init__(self, database: Database, wall: Callable[[], float]) -> None:
        self._database = database
        self._wall = wall
        # Announcements of this process that are not settled yet. Changed on the loop and on the writer's thread.
        self._own: dict[str, None] = {}

    async def add(self, blob: str) -> None:
        """On return the announcement is committed."""
        self._own[blob] = None
        at = self._wall()
        await self._database.write(lambda connection: outbox.add(connection, outbox.BLOB_ANNOUNCED, [blob], at))

    def take(self, connection: sa.Connection, blob: str) -> None:
        """Removes it in the row's transaction. Raises PlatformError if the upload took too long and was given up."""
        if not outbox.remove(connection, outbox.BLOB_ANNOUNCED, [blob]):
            raise PlatformError(
                "an upload took so long that its bytes were taken for abandoned and deleted: the caller must repeat it"
            )

    def ended(self, blobs: Sequence[str]) -> None:
        """Call when rows mention the blobs, or when they are to be deleted."""
        for blob in blobs:
            self._own.pop(blob, None)

    def give_up_own(self, connection: sa.Connection) -> list[str]:
        """As `give_up`, for this process's blobs, at a clean stop, when no upload is in progress any more.

        After a commit whose answer was lost, only the announcement shows whether a row mentions the blob.
        """
        own = set(self._own)
        return self._taken_back(connection, lambda entry: entry.subject in own) if own else []

    def give_up(self, connection: sa.Connection, age_s: float) -> list[str]:
        """Removes announcements at least `age_s` old. The same transaction must record the blobs as removed."""
        before = self._wall() - age_s
        return self._taken_back(connection, lambda entry: entry.created_at <= before)

    def _taken_back(self, connection: sa.Connection, chosen: Callable[[outbox.Entry], bool]) -> list[str]:
        found = outbox.pending(connection, outbox.BLOB_ANNOUNCED)
        blobs = [entry.subject for entry in found if chosen(entry)]
        outbox.remove(connection, outbox.BLOB_ANNOUNCED, blobs)
        return blobs
