"""Lends callers a place for a code package that is too large for a request, and uses each upload once.

Called by the operations GetTempBucketToken and GetTempCodeBucketToken (`lend`) and by `control.code` (`read`, `take`).
The bucket belongs to Function Compute, not to the account: no policy or ACL gives access, only the lent credentials.
"""

import contextlib
import secrets
import uuid
from collections.abc import Callable
from typing import Protocol

import msgspec

from sesame.control.requester import Requester
from sesame.model import limits, records
from sesame.model.bucket import Bucket
from sesame.model.errors import Exhausted, NotFound, Unusable
from sesame.model.invocation import Credentials
from sesame.model.object import ObjectKind
from sesame.model.role import FUNCTION_COMPUTE_ACCOUNT, CodeUpload, Principal, PrincipalKind
from sesame.store.catalog import Catalog, Transaction
from sesame.store.objects.listing import ListQuery
from sesame.store.objects.multipart import UploadQuery, Uploads
from sesame.store.objects.objects import Objects

# The lent credentials are valid for this long; an unused upload is deleted after twice the time.
VALID_S = 30 * 60
WAITING_MAX = 1000
SWEPT_AT_ONCE = 100
_ACTIONS = ("oss:PutObject", "oss:GetObject", "oss:ListParts", "oss:AbortMultipartUpload")


class Issues(Protocol):
    """Issues temporary credentials; implemented by `identity.issuer.Issuer`."""

    def lend(self, principal: Principal, valid_s: float) -> Credentials: ...


class Loan(msgspec.Struct, frozen=True):
    """A bucket, the name for an object in it, and credentials that may write only that object.

    `expires_at` is in Unix seconds.
    """

    bucket_name: str
    object_name: str
    credentials: Credentials
    expires_at: float


class CodeUploads:
    """`wall_clock` returns Unix seconds."""

    def __init__(
        self,
        catalog: Catalog,
        objects: Objects,
        parts: Uploads,
        issuer: Issues,
        wall_clock: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._objects = objects
        self._parts = parts
        self._issuer = issuer
        self._wall_clock = wall_clock

    async def lend(self, by: Requester, account_id: str) -> Loan:
        """Starts an upload for this caller. Raises `Exhausted` while too many are unused."""
        expires_at = self._wall_clock() + VALID_S
        name = uuid.uuid4().hex

        def edit(tx: Transaction) -> str:
            if tx.count(records.CODE_UPLOAD, "") >= WAITING_MAX:
                raise Exhausted(
                    f"{WAITING_MAX} uploads of code wait to be used: use them, or wait until they expire "
                    f"{2 * VALID_S // 60} minutes after they were asked for"
                )
            bucket = _bucket_of(tx)
            upload = CodeUpload(bucket_name=bucket, lent_to=by.principal.lasting_name, expires_at=expires_at)
            tx.put(records.CODE_UPLOAD, "", name, upload)
            return bucket

        bucket = await self._catalog.edit(edit)
        lent = Principal(
            kind=PrincipalKind.CODE_UPLOAD,
            account_id=FUNCTION_COMPUTE_ACCOUNT,
            session=name,
            session_policy=_policy(bucket, name, account_id),
        )
        return Loan(bucket, name, self._issuer.lend(lent, VALID_S), expires_at)

    def owns(self, bucket_name: str) -> bool:
        """Whether this is the bucket for uploads."""
        record = self._catalog.get(records.BUCKET, "", bucket_name)
        return record is not None and record.document.account_id == FUNCTION_COMPUTE_ACCOUNT

    async def read(self, bucket_name: str, key: str, by: Requester) -> bytes:
        """The uploaded bytes. Raises `Rejected` unless this is a usable upload of this caller."""
        record = self._catalog.get(records.CODE_UPLOAD, "", _upload_of(key))
        self._check(None if record is None else record.document, bucket_name, key, by)
        reader = await self._objects.open_reader(bucket_name, key)
        if reader is None or reader.stored.kind is ObjectKind.SYMLINK:
            raise Unusable(
                f"OSS object '{key}' does not exist in bucket '{bucket_name}': upload the code with the credentials of "
                "GetTempBucketToken first"
            )
        try:
            if reader.stored.size > limits.CODE_ZIP_BYTES:
                raise Unusable(
                    f"the uploaded code has {reader.stored.size} bytes, more than a code package may "
                    f"({limits.CODE_ZIP_BYTES} bytes): put parts of it into layers"
                )
            return await reader.whole()
        finally:
            reader.close()

    async def discard(self, bucket_name: str, key: str) -> None:
        """Deletes the bytes of a used upload."""
        await self._objects.delete(bucket_name, [key])

    def take(self, tx: Transaction, bucket_name: str, key: str, by: Requester) -> None:
        """Ends the upload in the transaction that uses it. Raises `Rejected` if another one used it meanwhile."""
        name = _upload_of(key)
        record = tx.get(records.CODE_UPLOAD, "", name)
        self._check(None if record is None else record.document, bucket_name, key, by)
        tx.delete(records.CODE_UPLOAD, "", name)

    async def sweep(self) -> None:
        """Deletes uploads that were not used in time, and objects and parts that belong to no upload."""
        past = self._wall_clock() - VALID_S

        def edit(tx: Transaction) -> tuple[list[str], set[str]]:
            late = [r.name for r in tx.children(records.CODE_UPLOAD, "") if r.document.expires_at <= past]
            for name in late:
                tx.delete(records.CODE_UPLOAD, "", name)
            buckets = [r.name for r in tx.children(records.BUCKET, "") if _is_of_uploads(r.document)]
            return buckets, {r.name for r in tx.children(records.CODE_UPLOAD, "")}

        buckets, live = await self._catalog.edit(edit)
        for bucket in buckets:
            await self._sweep_objects(bucket, live)
            await self._sweep_parts(bucket, live)

    async def _sweep_objects(self, bucket: str, live: set[str]) -> None:
        after: str | None = ""
        while after is not None:
            page = await self._objects.page(ListQuery(bucket, after=after, limit=SWEPT_AT_ONCE))
            unused = [stored.key for stored in page.objects if _upload_of(stored.key) not in live]
            if unused:
                await self._objects.delete(bucket, unused)
            after = page.next_after

    async def _sweep_parts(self, bucket: str, live: set[str]) -> None:
        query = UploadQuery(bucket, limit=SWEPT_AT_ONCE)
        while found := await self._parts.page(query):
            for pending in found:
                if _upload_of(pending.key) not in live:
                    with contextlib.suppress(NotFound):
                        await self._parts.abort(pending)
            query = UploadQuery(bucket, key_after=found[-1].key, id_after=found[-1].upload_id, limit=SWEPT_AT_ONCE)

    def _check(self, upload: CodeUpload | None, bucket_name: str, key: str, by: Requester) -> None:
        valid = (
            upload is not None
            and upload.bucket_name == bucket_name
            and upload.lent_to == by.principal.lasting_name
            and self._wall_clock() < upload.expires_at + VALID_S
        )
        if not valid:
            raise Unusable(
                f"OSS object '{key}' in bucket '{bucket_name}' is no code that you uploaded and did not use yet: an "
                f"upload can be used once, within {2 * VALID_S // 60} minutes; ask GetTempBucketToken for a new place "
                "and upload the code again"
            )


def _upload_of(key: str) -> str:
    """Clients may put folders before the name that they were given."""
    return key.rpartition("/")[2]


def _is_of_uploads(bucket: Bucket) -> bool:
    return bucket.account_id == FUNCTION_COMPUTE_ACCOUNT


def _bucket_of(tx: Transaction) -> str:
    """The bucket's name, which is chosen when first needed such that no other bucket has it."""
    for record in tx.children(records.BUCKET, ""):
        if _is_of_uploads(record.document):
            return record.name
    while True:
        name = f"fc-code-{secrets.token_hex(6)}"
        if tx.get(records.BUCKET, "", name) is None:
            tx.put(records.BUCKET, "", name, Bucket(bucket_name=name, account_id=FUNCTION_COMPUTE_ACCOUNT))
            return name


def _policy(bucket: str, name: str, account_id: str) -> str:
    """Clients put the object under the bare name, or in folders named after account and service (api.md §3.2)."""
    places = (name, f"{account_id}/{name}", f"{account_id}/*/{name}")
    statement = {
        "Effect": "Allow",
        "Action": _ACTIONS,
        "Resource": [f"acs:oss:*:{FUNCTION_COMPUTE_ACCOUNT}:{bucket}/{place}" for place in places],
    }
    return msgspec.json.encode({"Version": "1", "Statement": [statement]}).decode()
