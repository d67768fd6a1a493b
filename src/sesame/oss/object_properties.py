"""Reads and changes the ACL, tags and symlink of an object, never its bytes.

Routed to by `oss.routes`.
"""

from urllib.parse import quote, unquote
from xml.etree.ElementTree import Element

import msgspec

from sesame.model.object import ObjectKind, ObjectMeta, StoredObject
from sesame.model.object_event import PUT_SYMLINK
from sesame.oss import xml
from sesame.oss.answers import Answer, owner, xml_answer
from sesame.oss.calls import Call
from sesame.oss.errors import OssError, invalid_argument, no_such_key
from sesame.oss.metadata import OBJECT_ACLS, brief_headers, check_tags, meta_of, one_of
from sesame.oss.permissions import AccessRequest
from sesame.oss.request import check_key
from sesame.oss.writing import NO_BYTES, may_overwrite, new_object


async def get_object_acl(call: Call) -> Answer:
    stored = await _stored(call)
    grants: xml.Element = ("AccessControlList", [("Grant", stored.meta.acl)])
    return xml_answer("AccessControlPolicy", [owner(call.bucket.account_id), grants])


async def put_object_acl(call: Call) -> Answer:
    if not call.request.header("x-oss-object-acl"):
        raise invalid_argument("x-oss-object-acl", "")
    await _change_meta(call, acl=one_of(call.request, "x-oss-object-acl", OBJECT_ACLS))
    return Answer()


async def get_object_tagging(call: Call) -> Answer:
    stored = await _stored(call)
    return xml_answer("Tagging", [tag_set(stored.meta.tags)])


async def put_object_tagging(call: Call) -> Answer:
    wanted = AccessRequest("oss:PutObjectTagging", call.bucket, call.key)
    try:
        tags = read_tags(await xml.read(call.body, "Tagging"))
    except OssError:
        # Only callers that may set some tags learn what is wrong with the body.
        await call.require(wanted)
        raise
    await call.require(msgspec.structs.replace(wanted, tags=tags))
    await _change_meta(call, tags=tags)
    return Answer()


async def delete_object_tagging(call: Call) -> Answer:
    await _change_meta(call, tags={})
    return Answer(status=204)


async def put_symlink(call: Call) -> Answer:
    given = call.request.header("x-oss-symlink-target")
    try:
        target = unquote(given, errors="strict")
    except UnicodeDecodeError as exc:
        raise invalid_argument("x-oss-symlink-target", given) from exc
    check_key(target)
    meta = msgspec.structs.replace(meta_of(call.request, call.bucket), symlink=target)
    stored = new_object(call, NO_BYTES, meta, ObjectKind.SYMLINK)
    await call.dependencies.objects.put(stored, call.cause(PUT_SYMLINK), overwrite=may_overwrite(call))
    return Answer(headers={"ETag": f'"{stored.etag}"'})


async def get_symlink(call: Call) -> Answer:
    stored = await _stored(call)
    if stored.kind is not ObjectKind.SYMLINK:
        raise OssError("NotSymlink", details={"Key": call.key})
    return Answer(headers={**brief_headers(stored), "x-oss-symlink-target": quote(stored.meta.symlink, safe="")})


def tag_set(tags: dict[str, str]) -> xml.Element:
    return ("TagSet", [("Tag", [("Key", name), ("Value", value)]) for name, value in tags.items()])


def read_tags(root: Element) -> dict[str, str]:
    """Parses a Tagging document. Raises OssError MalformedXML, InvalidArgument."""
    tags: dict[str, str] = {}
    for tag in root.findall("TagSet/Tag"):
        name = xml.text(tag, "Key")
        if name in tags:
            raise OssError("MalformedXML")
        tags[name] = xml.text(tag, "Value")
    check_tags(tags)
    return tags


async def _stored(call: Call) -> StoredObject:
    stored = await call.dependencies.objects.head(call.bucket.bucket_name, call.key)
    if stored is None:
        raise no_such_key(call.key)
    return stored


async def _change_meta(call: Call, **changes: object) -> None:
    def change(stored: StoredObject) -> StoredObject:
        meta: ObjectMeta = msgspec.structs.replace(stored.meta, **changes)
        return msgspec.structs.replace(stored, meta=meta)

    await call.dependencies.objects.update(call.bucket.bucket_name, call.key, change)
