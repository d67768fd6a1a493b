"""Reads a function's code from a bucket (`code.ossBucketName`, `code.ossObjectName`).

Called by `control.code` for each function or layer with such code. Reads only the account's own buckets.
"""

from sesame.control.buckets import Buckets
from sesame.control.requester import Requester
from sesame.model.errors import Unusable
from sesame.model.limits import CODE_ZIP_BYTES
from sesame.store.catalog import Catalog
from sesame.store.objects.objects import Objects


class ObjectSource:
    def __init__(self, catalog: Catalog, objects: Objects, account_id: str, region: str) -> None:
        self._buckets = Buckets(catalog)
        self._objects = objects
        self._account_id = account_id
        self._region = region

    async def read(self, bucket: str, key: str, by: Requester) -> bytes:
        """Raises Forbidden unless the caller may read the object, because deployed code can be downloaded again.

        Raises Unusable, which says whether bucket or object is wrong, or that the object is too large.
        """
        found = self._buckets.get(bucket)
        if found is None or found.account_id != self._account_id:
            raise Unusable(f"OSS bucket '{bucket}' does not exist or does not belong to you")
        # ACLs, and the tags of bucket and object, are not considered: a condition on a tag finds no tag.
        by.require("oss:GetObject", f"acs:oss:oss-{self._region}:{self._account_id}:{bucket}/{key}")
        reader = await self._objects.open_reader(bucket, key)
        if reader is None:
            raise Unusable(f"OSS object '{key}' does not exist in bucket '{bucket}'")
        try:
            if reader.stored.size > CODE_ZIP_BYTES:
                raise Unusable(
                    f"OSS object '{key}' has {reader.stored.size} bytes, more than a code package may "
                    f"({CODE_ZIP_BYTES} bytes)"
                )
            return await reader.whole()
        finally:
            reader.close()
