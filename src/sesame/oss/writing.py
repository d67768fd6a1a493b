"""Common parts of all writes: receives the body as a durable blob, and builds its object.

Called by the operations that put, append, copy and upload parts. The store writes the rows.
"""

from sesame.model.object import ObjectKind, ObjectMeta, Part, StoredObject, Written
from sesame.oss.calls import Call
from sesame.oss.errors import OssError

OBJECT_BYTES_MAX = 5 * 1024**3
# A symlink has no blob.
NO_BYTES = Written(blob="", size=0, md5="D41D8CD98F00B204E9800998ECF8427E", crc64=0)


async def receive(call: Call) -> Written:
    """Stores the body as a durable blob. Raises OssError MissingContentLength, EntityTooLarge, InvalidDigest."""
    body, objects = call.body, call.dependencies.objects
    body.require_length()
    body.expected_md5()
    if (body.declared_length() or 0) > OBJECT_BYTES_MAX:
        raise OssError("EntityTooLarge")
    async with objects.upload() as upload:
        async for chunk in body:
            await upload.write(chunk)
            if upload.size > OBJECT_BYTES_MAX:
                raise OssError("EntityTooLarge")
        written = await upload.finish()
    try:
        body.check_md5(bytes.fromhex(written.md5))
    except OssError:
        await objects.discard(written)
        raise
    return written


def new_object(call: Call, written: Written, meta: ObjectMeta, kind: ObjectKind = ObjectKind.NORMAL) -> StoredObject:
    return StoredObject(
        bucket=call.bucket.bucket_name,
        key=call.key,
        blob=written.blob,
        size=written.size,
        etag=written.md5,
        crc64=written.crc64,
        kind=kind,
        meta=meta,
        modified_at=call.dependencies.clock(),
    )


def may_overwrite(call: Call) -> bool:
    return call.request.header("x-oss-forbid-overwrite").lower() != "true"


def written_headers(stored: StoredObject | Part) -> dict[str, str]:
    return {"ETag": f'"{stored.etag}"', "x-oss-hash-crc64ecma": str(stored.crc64)}
