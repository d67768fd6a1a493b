"""Puts, gets, heads and deletes objects.

Routed to by `oss.routes`, after `oss.app` has checked the caller's rights to the bucket or object. Bodies are
streamed between connection and file, never held in memory completely.
"""

from sesame.model.object import ObjectKind
from sesame.model.object_event import DELETE_OBJECT, DELETE_OBJECTS, PUT_OBJECT
from sesame.model.role import PrincipalKind
from sesame.oss import xml
from sesame.oss.answers import Answer, ByteRange, encoding_type, key_encoder, xml_answer
from sesame.oss.calls import Call
from sesame.oss.conditions import check_read, range_of
from sesame.oss.errors import OssError, no_such_key
from sesame.oss.metadata import UNFIT_FOR_GZIP, brief_headers, is_compressible, meta_of, object_headers, overrides
from sesame.oss.permissions import AccessRequest
from sesame.oss.request import NULL_VERSION, check_key
from sesame.oss.restore import require_readable, restore_state
from sesame.oss.writing import may_overwrite, new_object, receive, written_headers
from sesame.store.objects.reader import Reader

DELETES_AT_ONCE = 1000


async def put_object(call: Call) -> Answer:
    meta = meta_of(call.request, call.bucket)
    written = await receive(call)
    stored = new_object(call, written, meta)
    await call.dependencies.objects.put(stored, call.cause(PUT_OBJECT), overwrite=may_overwrite(call))
    return Answer(
        headers={**written_headers(stored), "Content-MD5": object_headers(stored, stored.kind)["Content-MD5"]}
    )


async def get_object(call: Call) -> Answer:
    reader = await open_object(call, call.key)
    try:
        return _read(call, reader)
    except BaseException:
        reader.close()
        raise


async def head_object(call: Call) -> Answer:
    """Answers with the headers of GET and no body. Raises OssError."""
    reader = await open_object(call, call.key, for_reading=False)
    reader.close()
    stored = reader.stored
    check_read(call.request, stored)
    headers = {**object_headers(stored, reader.kind), **_overrides(call), "Content-Length": str(stored.size)}
    if state := restore_state(stored, call.dependencies.clock()):
        headers["x-oss-restore"] = state
    return Answer(headers=headers)


async def get_object_meta(call: Call) -> Answer:
    """For GET, which oss2 before 2.17 uses, the body is the object: clients take its size from Content-Length."""
    reader = await open_object(call, call.key, for_reading=call.request.method == "GET")
    stored = reader.stored
    if call.request.method == "GET":
        return Answer(headers=brief_headers(stored), body=ByteRange(reader, 0, stored.size))
    reader.close()
    return Answer(headers={**brief_headers(stored), "Content-Length": str(stored.size)})


async def delete_object(call: Call) -> Answer:
    await call.dependencies.objects.delete(call.bucket.bucket_name, [call.key], call.cause(DELETE_OBJECT))
    return Answer(status=204)


async def delete_objects(call: Call) -> Answer:
    root = await xml.read(call.body, "Delete")
    quiet = xml.flag(root, "Quiet")
    named = [(xml.text(element, "Key"), xml.text(element, "VersionId")) for element in root.findall("Object")]
    if not 1 <= len(named) <= DELETES_AT_ONCE:
        raise OssError("MalformedXML")
    for key, version in named:
        if version not in ("", NULL_VERSION):
            raise OssError("NoSuchVersion", details={"Key": key, "VersionId": version})
    keys = [key for key, _ in named]
    for key in keys:
        check_key(key)
        await call.require(AccessRequest("oss:DeleteObject", call.bucket, key))
    await call.dependencies.objects.delete(call.bucket.bucket_name, keys, call.cause(DELETE_OBJECTS))
    if quiet:
        return Answer()
    encode = key_encoder(call.request)
    deleted: list[xml.Element] = [
        ("Deleted", [("Key", encode(key)), ("VersionId", version) if version else None]) for key, version in named
    ]
    return xml_answer("DeleteResult", [encoding_type(call.request), *deleted])


async def open_object(call: Call, key: str, *, for_reading: bool = True) -> Reader:
    """Opens an object and follows one symlink.

    Raises OssError NoSuchKey, SymlinkTargetNotExist, InvalidTargetType, AccessDenied.
    """
    bucket = call.bucket.bucket_name
    reader = await call.dependencies.objects.open_reader(bucket, key, for_reading=for_reading)
    if reader is None:
        raise no_such_key(key)
    link = reader.stored
    if link.kind is not ObjectKind.SYMLINK:
        return reader
    target = link.meta.symlink
    await call.require(AccessRequest("oss:GetObject", call.bucket, target))
    reader = await call.dependencies.objects.open_reader(bucket, target, for_reading=for_reading)
    if reader is None:
        raise OssError("SymlinkTargetNotExist", details={"Key": key})
    if reader.stored.kind is ObjectKind.SYMLINK:
        raise OssError("InvalidTargetType", details={"Key": key})
    return reader.named_by(link)


def _read(call: Call, reader: Reader) -> Answer:
    stored = reader.stored
    require_readable(stored, call.bucket, call.dependencies.clock())
    check_read(call.request, stored)
    headers = {**object_headers(stored, reader.kind), **_overrides(call)}
    if state := restore_state(stored, call.dependencies.clock()):
        headers["x-oss-restore"] = state
    wanted = range_of(call.request, stored)
    if wanted is None:
        if not is_compressible(call.request, stored):
            return Answer(headers=headers, body=ByteRange(reader, 0, stored.size))
        for name in UNFIT_FOR_GZIP:
            headers.pop(name, None)
        return Answer(
            headers={**headers, "Content-Encoding": "gzip"}, body=ByteRange(reader, 0, stored.size, gzip=True)
        )
    headers["Content-Range"] = wanted.content_range(stored.size)
    # The MD5 of the whole object does not match the range.
    headers.pop("Content-MD5", None)
    return Answer(206, headers, ByteRange(reader, wanted.start, wanted.length))


def _overrides(call: Call) -> dict[str, str]:
    return overrides(call.request, anonymous=call.caller.principal.kind is PrincipalKind.ANONYMOUS)
