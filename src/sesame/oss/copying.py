"""Copies an object, or a byte range of an object into a part of a multipart upload.

Routed to by `oss.routes` if a request names a source. Bytes are copied from file to file, and the caller needs the
right to read the source (reference/companions.md §1.11).
"""

from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from sesame.model.object import ObjectKind, ObjectMeta, StoredObject, Written
from sesame.model.object_event import COPY_OBJECT
from sesame.oss.answers import Answer, xml_answer, xml_time
from sesame.oss.calls import Call
from sesame.oss.conditions import check_copy, range_inside
from sesame.oss.errors import OssError, invalid_argument, no_such_key
from sesame.oss.metadata import meta_of
from sesame.oss.permissions import AccessRequest
from sesame.oss.request import NULL_VERSION, Request, check_key
from sesame.oss.restore import require_readable
from sesame.oss.writing import NO_BYTES, may_overwrite, new_object, written_headers
from sesame.store.objects.reader import Reader

SOURCE_HEADER = "x-oss-copy-source"
_DIRECTIVES = ("COPY", "REPLACE")
_CLIENT_ENCRYPTION = "x-oss-meta-client-side-encryption-"


async def copy_object(call: Call) -> Answer:
    """Copies an object; a copy onto itself changes the metadata and keeps the bytes."""
    meta = meta_of(call.request, call.bucket)
    replaces = _replaces(call.request, "x-oss-metadata-directive")
    replaces_tags = _replaces(call.request, "x-oss-tagging-directive")
    stored: StoredObject | None = None
    while stored is None:
        reader = await open_source(call)
        source = reader.stored
        try:
            onto_itself = (source.bucket, source.key) == (call.bucket.bucket_name, call.key)
            if not onto_itself:
                _require_readable(call, source)
            headers = source.meta.headers
            if replaces or onto_itself:
                # Without a content type in the request, the object keeps its own.
                kept = {} if call.request.header("content-type") else {"content-type": headers["content-type"]}
                headers = {**_of_encrypting_client(headers), **meta.headers, **kept}
            tags = meta.tags if replaces_tags else source.meta.tags
            wanted = msgspec.structs.replace(meta, headers=headers, tags=tags)
            stored = await (_change(call, source, wanted) if onto_itself else _copy(call, reader, wanted))
        finally:
            reader.close()
    answer = xml_answer(
        "CopyObjectResult", [("LastModified", xml_time(stored.modified_at)), ("ETag", f'"{stored.etag}"')]
    )
    return msgspec.structs.replace(answer, headers={**answer.headers, **written_headers(stored)})


async def copy_byte_range(call: Call) -> Written:
    """Copies the requested byte range of the source into a new blob."""
    reader = await open_source(call)
    try:
        _require_readable(call, reader.stored)
        if reader.stored.kind is ObjectKind.SYMLINK:
            raise invalid_argument(
                SOURCE_HEADER, call.request.header(SOURCE_HEADER), "A symlink has no bytes: name its target instead."
            )
        size = reader.stored.size
        wanted = range_inside(call.request.header("x-oss-copy-source-range"), size)
        start, length = (wanted.start, wanted.length) if wanted else (0, size)
        return await call.dependencies.objects.copy(reader, start, length)
    finally:
        reader.close()


async def open_source(call: Call) -> Reader:
    """Opens the source. Raises OssError if it is malformed, missing, not readable or excluded by conditions."""
    path, _, version = call.request.header(SOURCE_HEADER).partition("?")
    try:
        source = unquote(path, errors="strict")
    except UnicodeDecodeError as exc:
        raise invalid_argument(SOURCE_HEADER, path) from exc
    bucket_name, separator, key = source.removeprefix("/").partition("/")
    if not separator:
        raise invalid_argument(SOURCE_HEADER, path, "Copy Source must mention the source bucket and key.")
    check_key(key)
    if version not in ("", f"versionId={NULL_VERSION}"):
        raise OssError("NoSuchVersion", details={"Key": key, "VersionId": version.removeprefix("versionId=")})
    bucket = call.dependencies.buckets.record(bucket_name).document
    await call.require(AccessRequest("oss:GetObject", bucket, key))
    reader = await call.dependencies.objects.open_reader(bucket_name, key)
    if reader is None:
        raise no_such_key(key)
    try:
        check_copy(call.request, reader.stored)
    except BaseException:
        reader.close()
        raise
    return reader


def _replaces(request: Request, directive: str) -> bool:
    """Whether the directive is REPLACE; COPY is the default. Ignores case. Raises OssError InvalidArgument."""
    value = request.header(directive, "COPY").upper()
    if value not in _DIRECTIVES:
        raise invalid_argument(directive, request.header(directive))
    return value == "REPLACE"


def _of_encrypting_client(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that a client-side encrypting client needs for decryption: copies keep them, as in OSS."""
    return {name: value for name, value in headers.items() if name.startswith(_CLIENT_ENCRYPTION)}


def _require_readable(call: Call, source: StoredObject) -> None:
    bucket = call.dependencies.buckets.record(source.bucket).document
    require_readable(source, bucket, call.dependencies.clock())


async def _copy(call: Call, reader: Reader, meta: ObjectMeta) -> StoredObject:
    source = reader.stored
    if source.kind is ObjectKind.SYMLINK:
        # Copies the link itself instead of its target.
        meta = msgspec.structs.replace(meta, symlink=source.meta.symlink)
        stored = new_object(call, NO_BYTES, meta, ObjectKind.SYMLINK)
    else:
        stored = new_object(call, await call.dependencies.objects.copy(reader, 0, source.size), meta)
    await call.dependencies.objects.put(stored, call.cause(COPY_OBJECT), overwrite=may_overwrite(call))
    return stored


async def _change(call: Call, source: StoredObject, meta: ObjectMeta) -> StoredObject | None:
    """Changes the object's metadata in place; returns None if it was overwritten since it was read.

    Raises OssError InvalidArgument, FileAlreadyExists.
    """
    now = call.dependencies.clock()
    if not may_overwrite(call):
        raise OssError("FileAlreadyExists")

    def change(stored: StoredObject) -> StoredObject:
        if stored.kind is ObjectKind.SYMLINK:
            raise OssError("InvalidArgument", "A symlink cannot be copied onto itself.")
        if (stored.blob, stored.size, stored.meta) != (source.blob, source.size, source.meta):
            return stored
        return msgspec.structs.replace(stored, meta=meta, modified_at=now)

    stored = await call.dependencies.objects.update(call.bucket.bucket_name, call.key, change, call.cause(COPY_OBJECT))
    return stored if stored.meta == meta else None
