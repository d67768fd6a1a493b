"""Archives of code packages in a bucket: what is deleted is still this process's to delete. Run by pytest."""

from pathlib import Path
from typing import cast

import pytest
from tests.support.postgresql import Server

from sesame.model.errors import PlatformError
from sesame.store.blobs.bucket import Bucket
from sesame.store.blobs.s3_archives import S3Archives
from sesame.store.sql.database import Database
from sesame.store.sql.pairing import number_of


class Listed:
    path = "packages/abc/0"


class _Bucket:
    """Has one archive, and says what was deleted."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def listing(self, _folder: str) -> list[Listed]:
        return [Listed()]

    async def delete(self, paths: list[str]) -> None:
        self.deleted += paths


async def _nothing(_sha256: str) -> None:
    pass


async def test_a_process_whose_database_another_one_has_deletes_nothing(
    postgresql_url: str, postgresql_server: Server, tmp_path: Path
) -> None:
    database, bucket = Database(postgresql_url, str(tmp_path)), _Bucket()
    await database.open()

    async def own() -> None:
        await database.write(number_of)

    archives = S3Archives(cast(Bucket, bucket), _nothing, own)
    await archives.delete("abc")
    assert bucket.deleted == [Listed.path]
    # As the next writer does, while this process stands still.
    name = postgresql_url.rpartition("/")[2]
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    postgresql_server.sql(f"{ended} AND pid <> pg_backend_pid()", name)
    other = Database(postgresql_url, "another")
    await other.open()
    try:
        with pytest.raises(PlatformError):
            await archives.delete("abc")
    finally:
        await other.close()
        await database.close()
    assert bucket.deleted == [Listed.path]
