"""Multipart uploads (initiate, upload and copy parts, complete, abort, list) and AppendObject.

Routed to by `oss.routes`; `store.objects.multipart` stores and joins parts. An object becomes visible when its upload
is complete.
"""

import base64
import secrets
from collections.abc import AsyncIterator, Mapping
from xml.etree.ElementTree import Element

import msgspec

from sesame.model.natural import LARGEST, natural
from sesame.model.object import ObjectKind, ObjectMeta, Part, PendingUpload
from sesame.model.object_event import (
    ABORT_UPLOAD,
    APPEND_OBJECT,
    COMPLETE_UPLOAD,
    INITIATE_UPLOAD,
    UPLOAD_PART,
    UPLOAD_PART_COPY,
)
from sesame.oss import xml
from sesame.oss.answers import Answer, encoding_type, key_encoder, owner, xml_answer, xml_time
from sesame.oss.calls import Call
from sesame.oss.copying import copy_byte_range
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.listings import check_places, max_keys
from sesame.oss.metadata import OBJECT_ACLS, meta_of, one_of, with_persistent
from sesame.oss.writing import may_overwrite, new_object, receive, written_headers
from sesame.store.objects.multipart import UploadQuery

PART_NUMBER_MAX = 10_000
PART_BYTES_MIN = 100 * 1024
PAGE_DEFAULT = 1000
# By the last part of the name of the metadata header.
_CLIENT_ENCRYPTION = (
    ("key", "ClientEncryptionKey"), ("start", "ClientEncryptionStart"), ("cek-alg", "ClientEncryptionCekAlg"),
    ("wrap-alg", "ClientEncryptionWrapAlg"), ("data-size", "ClientEncryptionDataSize"),
    ("part-size", "ClientEncryptionPartSize"),
)  # fmt: skip


async def initiate(call: Call) -> Answer:
    meta = meta_of(call.request, call.bucket)
    if not may_overwrite(call):
        if await call.dependencies.objects.head(call.bucket.bucket_name, call.key) is not None:
            raise OssError("FileAlreadyExists")
        meta = msgspec.structs.replace(meta, forbids_overwrite=True)
    upload = PendingUpload(
        upload_id=secrets.token_hex(16).upper(),
        bucket=call.bucket.bucket_name,
        key=call.key,
        meta=meta,
        initiated_at=call.dependencies.clock(),
    )
    await call.dependencies.uploads.begin(upload, call.cause(INITIATE_UPLOAD))
    encode = key_encoder(call.request)
    return xml_answer(
        "InitiateMultipartUploadResult",
        [
            encoding_type(call.request),
            ("Bucket", upload.bucket),
            ("Key", encode(upload.key)),
            ("UploadId", upload.upload_id),
        ],
    )


async def put_part(call: Call) -> Answer:
    number = _number(call, "partNumber", 1, PART_NUMBER_MAX)
    upload = await _upload(call)
    part = await call.dependencies.uploads.put_part(upload, number, await receive(call), call.cause(UPLOAD_PART))
    return Answer(headers={**written_headers(part), "Content-MD5": base64.b64encode(bytes.fromhex(part.etag)).decode()})


async def copy_part(call: Call) -> Answer:
    """UploadPartCopy: stores a byte range of another object as a part."""
    number = _number(call, "partNumber", 1, PART_NUMBER_MAX)
    upload = await _upload(call)
    written = await copy_byte_range(call)
    part = await call.dependencies.uploads.put_part(upload, number, written, call.cause(UPLOAD_PART_COPY))
    etag = ("ETag", f'"{part.etag}"')
    answer = xml_answer("CopyPartResult", [("LastModified", xml_time(part.modified_at)), etag])
    return msgspec.structs.replace(answer, headers={**answer.headers, **written_headers(part)})


async def complete(call: Call) -> Answer:
    upload = await _upload(call)
    uploaded = {part.number: part for part in await call.dependencies.uploads.parts(upload)}
    body = await call.body.whole(xml.BODY_BYTES_MAX)
    if call.request.header("x-oss-complete-all").lower() == "yes":
        if body:
            raise OssError("InvalidArgument", "x-oss-complete-all takes no list of parts.")
        chosen = list(uploaded.values())
    else:
        listed = await xml.read_bytes(body, "CompleteMultipartUpload")
        try:
            chosen = _chosen(listed, uploaded)
        except OssError:
            # If another request ended the upload meanwhile, this raises NoSuchUpload, which is the actual reason.
            await _upload(call)
            raise
    if any(part.size < PART_BYTES_MIN for part in chosen[:-1]):
        raise OssError("EntityTooSmall")
    overwrite = may_overwrite(call) and not upload.meta.forbids_overwrite
    acl = one_of(call.request, "x-oss-object-acl", (upload.meta.acl, *OBJECT_ACLS))
    headers = with_persistent(upload.meta.headers, call.request)
    meta = msgspec.structs.replace(upload.meta, headers=headers, acl=acl, forbids_overwrite=False)
    stored = await call.dependencies.uploads.complete(
        msgspec.structs.replace(upload, meta=meta), chosen, call.cause(COMPLETE_UPLOAD), overwrite=overwrite
    )
    encode = key_encoder(call.request)
    answer = xml_answer(
        "CompleteMultipartUploadResult",
        [
            encoding_type(call.request),
            ("Location", f"{call.request.endpoint}/{upload.bucket}/{encode(upload.key)}"),
            ("Bucket", upload.bucket),
            ("Key", encode(upload.key)),
            ("ETag", f'"{stored.etag}"'),
        ],
    )
    return msgspec.structs.replace(answer, headers={**answer.headers, **written_headers(stored)})


async def abort(call: Call) -> Answer:
    await call.dependencies.uploads.abort(await _upload(call), call.cause(ABORT_UPLOAD))
    return Answer(status=204)


async def list_parts(call: Call) -> Answer:
    upload = await _upload(call)
    limit = max_keys(call.request, "max-parts", PAGE_DEFAULT)
    after = _number(call, "part-number-marker", 0, PART_NUMBER_MAX, default=0)
    found = await call.dependencies.uploads.parts(upload, after, limit + 1)
    shown, truncated = found[:limit], len(found) > limit
    encode = key_encoder(call.request)
    return xml_answer(
        "ListPartsResult",
        [
            encoding_type(call.request),
            ("Bucket", upload.bucket),
            ("Key", encode(upload.key)),
            ("UploadId", upload.upload_id),
            ("StorageClass", upload.meta.storage_class),
            ("PartNumberMarker", after),
            ("NextPartNumberMarker", shown[-1].number if shown else after),
            ("MaxParts", limit),
            ("IsTruncated", truncated),
            *_client_encryption(upload.meta.headers),
            *(_part_element(part) for part in shown),
        ],
    )


def _client_encryption(headers: Mapping[str, str]) -> list[xml.Element]:
    """What an encrypting client sent when it initiated the upload; it needs this to resume an interrupted upload."""
    said = ((element, headers.get(f"x-oss-meta-client-side-encryption-{name}")) for name, element in _CLIENT_ENCRYPTION)
    return [(element, value) for element, value in said if value is not None]


async def list_uploads(call: Call) -> Answer:
    check_places(call.request)
    query = call.request.query
    limit = max_keys(call.request, "max-uploads", PAGE_DEFAULT)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key_marker, id_marker = query.get("key-marker", ""), query.get("upload-id-marker", "")
    entries: list[PendingUpload | str] = []
    last = (key_marker, id_marker)
    truncated = False
    wanted = UploadQuery(call.bucket.bucket_name, prefix, key_marker, id_marker if key_marker else "")
    async for upload in _uploads_of(call, wanted):
        folded = _fold(upload.key, prefix, delimiter)
        if folded and entries and entries[-1] == folded:
            last = (upload.key, upload.upload_id)
            continue
        if len(entries) == limit:
            truncated = True
            break
        entries.append(folded or upload)
        last = (upload.key, upload.upload_id)
    encode = key_encoder(call.request)
    return xml_answer(
        "ListMultipartUploadsResult",
        [
            encoding_type(call.request),
            ("Bucket", call.bucket.bucket_name),
            ("KeyMarker", encode(key_marker)),
            ("UploadIdMarker", id_marker),
            ("NextKeyMarker", encode(last[0])),
            ("NextUploadIdMarker", last[1]),
            ("Delimiter", encode(delimiter)),
            ("Prefix", encode(prefix)),
            ("MaxUploads", limit),
            ("IsTruncated", truncated),
            *(_upload_element(call, entry) for entry in entries),
        ],
    )


async def append_object(call: Call) -> Answer:
    position = _number(call, "position", 0, LARGEST)
    # Only the first append sets metadata.
    meta = meta_of(call.request, call.bucket) if position == 0 else ObjectMeta()
    written = await receive(call)
    at = new_object(call, written, meta, ObjectKind.APPENDABLE)
    stored = await call.dependencies.objects.append(written, at, position, call.cause(APPEND_OBJECT))
    return Answer(headers={**written_headers(stored), "x-oss-next-append-position": str(stored.size)})


async def _upload(call: Call) -> PendingUpload:
    return await call.dependencies.uploads.get(call.bucket.bucket_name, call.key, call.request.query["uploadId"])


async def _uploads_of(call: Call, query: UploadQuery) -> AsyncIterator[PendingUpload]:
    while True:
        page = await call.dependencies.uploads.page(query)
        for upload in page:
            yield upload
        if len(page) < query.limit:
            return
        query = msgspec.structs.replace(query, key_after=page[-1].key, id_after=page[-1].upload_id)


def _number(call: Call, name: str, least: int, most: int, default: int | None = None) -> int:
    text = call.request.query.get(name, "")
    if not text and default is not None:
        return default
    number = natural(text, most)
    if number is None or number < least:
        raise invalid_argument(name, text, f"{name} must be an integer between {least} and {most}.")
    return number


def _chosen(root: Element, uploaded: dict[int, Part]) -> list[Part]:
    """The parts listed in the request. Raises OssError InvalidPart, InvalidPartOrder, MalformedXML."""
    chosen: list[Part] = []
    for element in root.findall("Part"):
        number, etag = xml.text(element, "PartNumber"), xml.text(element, "ETag").strip('"')
        part = uploaded.get(natural(number, PART_NUMBER_MAX) or 0)
        if part is None or part.etag != etag.upper():
            raise OssError("InvalidPart", details={"PartNumber": number, "ETag": etag})
        if chosen and part.number <= chosen[-1].number:
            raise OssError("InvalidPartOrder")
        chosen.append(part)
    if not chosen:
        raise OssError("MalformedXML")
    return chosen


def _fold(key: str, prefix: str, delimiter: str) -> str:
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return "" if at < 0 else key[: at + len(delimiter)]


def _part_element(part: Part) -> xml.Element:
    return (
        "Part",
        [
            ("PartNumber", part.number),
            ("LastModified", xml_time(part.modified_at)),
            ("ETag", f'"{part.etag}"'),
            ("HashCrc64ecma", str(part.crc64)),
            ("Size", part.size),
        ],
    )


def _upload_element(call: Call, entry: PendingUpload | str) -> xml.Element:
    encode = key_encoder(call.request)
    if isinstance(entry, str):
        return ("CommonPrefixes", [("Prefix", encode(entry))])
    return (
        "Upload",
        [
            ("Key", encode(entry.key)),
            ("UploadId", entry.upload_id),
            ("StorageClass", entry.meta.storage_class),
            owner(call.bucket.account_id),
            ("Initiated", xml_time(entry.initiated_at)),
        ],
    )
