"""Buckets: their names are unique over all accounts, and they are read from memory.

Called by the OSS endpoint and by `control.code_objects`. A bucket that is not empty is never deleted, and no object
enters a bucket that is being deleted: one transaction decides both.
"""

from collections.abc import Callable

import msgspec

from sesame.model import records
from sesame.model.bucket import Bucket, OssAccount
from sesame.model.errors import AlreadyExists, NotFound, TooMany
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction
from sesame.store.objects.rows import require_empty

BUCKETS_PER_ACCOUNT = 100
# The field that `TooMany` names.
BUCKETS = "buckets"


class Buckets:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def get(self, name: str) -> Bucket | None:
        record = self._catalog.get(records.BUCKET, "", name)
        return record.document if record else None

    def all(self) -> list[Bucket]:
        """The buckets of every account, in order of name."""
        return [record.document for record in self._catalog.children(records.BUCKET, "")]

    def record(self, name: str) -> Record:
        """The record, with its times. Raises NotFound."""
        record = self._catalog.get(records.BUCKET, "", name)
        if record is None:
            raise NotFound(records.BUCKET, name)
        return record

    def of_account(self, account_id: str) -> list[Record]:
        """The account's buckets, in order of name."""
        return [r for r in self._catalog.children(records.BUCKET, "") if r.document.account_id == account_id]

    def account(self, account_id: str) -> OssAccount:
        """The account's settings for all its buckets; the defaults if there are none."""
        record = self._catalog.get(records.OSS_ACCOUNT, "", account_id)
        return record.document if record else OssAccount(account_id)

    async def change_account(self, account_id: str, change: Callable[[OssAccount], OssAccount]) -> None:
        def apply(tx: Transaction) -> None:
            record = tx.get(records.OSS_ACCOUNT, "", account_id)
            tx.put(records.OSS_ACCOUNT, "", account_id, change(record.document if record else OssAccount(account_id)))

        await self._catalog.edit(apply)

    async def create(self, wanted: Bucket, *, sets_acl: bool) -> None:
        """Creating one's own bucket again changes its ACL if one is given, and nothing else.

        Raises AlreadyExists for another account's bucket or another storage class, TooMany.
        """

        def apply(tx: Transaction) -> None:
            record = tx.get(records.BUCKET, "", wanted.bucket_name)
            if record is None:
                owned = [r for r in tx.children(records.BUCKET, "") if r.document.account_id == wanted.account_id]
                if len(owned) >= BUCKETS_PER_ACCOUNT:
                    raise TooMany(BUCKETS, BUCKETS_PER_ACCOUNT, len(owned) + 1)
                tx.put(records.BUCKET, "", wanted.bucket_name, wanted)
                return
            found: Bucket = record.document
            same = (found.account_id, found.storage_class, found.redundancy) == (
                wanted.account_id,
                wanted.storage_class,
                wanted.redundancy,
            )
            if not same:
                raise AlreadyExists(records.BUCKET, wanted.bucket_name)
            if sets_acl:
                tx.put(records.BUCKET, "", wanted.bucket_name, msgspec.structs.replace(found, acl=wanted.acl))

        await self._catalog.edit(apply)

    async def change(self, name: str, change: Callable[[Bucket], Bucket]) -> None:
        """Raises NotFound."""

        def apply(tx: Transaction) -> None:
            record = tx.get(records.BUCKET, "", name)
            if record is None:
                raise NotFound(records.BUCKET, name)
            tx.put(records.BUCKET, "", name, change(record.document))

        await self._catalog.edit(apply)

    async def delete(self, name: str) -> None:
        """Raises NotEmpty."""

        def apply(tx: Transaction) -> None:
            require_empty(tx.connection, name)
            tx.delete(records.BUCKET, "", name)

        await self._catalog.edit(apply)
