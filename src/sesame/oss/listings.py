"""Lists the objects of a bucket: ListObjects, ListObjectsV2 and ListObjectVersions.

Routed to by `oss.routes`. `store.objects.listing` orders, groups and pages the keys. A continuation token is
untrusted: it only names the key to continue after.
"""

import base64
import binascii

from sesame.model.natural import natural
from sesame.model.object import StoredObject
from sesame.oss import xml
from sesame.oss.answers import Answer, encoding_type, key_encoder, owner, xml_answer, xml_time
from sesame.oss.calls import Call
from sesame.oss.errors import invalid_argument
from sesame.oss.request import KEY_BYTES_MAX, NULL_VERSION, Request
from sesame.oss.restore import restore_state
from sesame.store.objects.listing import ListQuery, ObjectPage

MAX_KEYS_DEFAULT, MAX_KEYS_MAX = 100, 1000
# Each is a key or a part of one, or an identifier, which is shorter.
_PLACES = (
    "prefix", "delimiter", "marker", "start-after", "key-marker", "version-id-marker", "upload-id-marker",
)  # fmt: skip


async def list_objects(call: Call) -> Answer:
    """ListObjects, version 1."""
    query = call.request.query
    marker = query.get("marker", "")
    encode = key_encoder(call.request)
    page = await _page(call, marker)
    return xml_answer(
        "ListBucketResult",
        [
            ("Name", call.bucket.bucket_name),
            ("Prefix", encode(query.get("prefix", ""))),
            ("Marker", encode(marker)),
            ("MaxKeys", max_keys(call.request)),
            ("Delimiter", encode(query.get("delimiter", ""))),
            encoding_type(call.request),
            ("IsTruncated", page.next_after is not None),
            ("NextMarker", encode(page.next_after)) if page.next_after is not None else None,
            *_entries(call, page, with_owner=True),
        ],
    )


async def list_objects_v2(call: Call) -> Answer:
    query = call.request.query
    if query["list-type"] != "2":
        raise invalid_argument("list-type", query["list-type"])
    token, start_after = query.get("continuation-token", ""), query.get("start-after", "")
    encode = key_encoder(call.request)
    page = await _page(call, _after(token) if token else start_after)
    following = _token(page.next_after) if page.next_after is not None else None
    return xml_answer(
        "ListBucketResult",
        [
            ("Name", call.bucket.bucket_name),
            ("Prefix", encode(query.get("prefix", ""))),
            ("StartAfter", encode(start_after)) if start_after else None,
            ("ContinuationToken", encode(token)) if token else None,
            ("MaxKeys", max_keys(call.request)),
            ("Delimiter", encode(query.get("delimiter", ""))),
            encoding_type(call.request),
            ("IsTruncated", following is not None),
            ("NextContinuationToken", encode(following)) if following is not None else None,
            ("KeyCount", len(page.objects) + len(page.prefixes)),
            *_entries(call, page, with_owner=query.get("fetch-owner", "").lower() == "true"),
        ],
    )


async def list_versions(call: Call) -> Answer:
    """Lists every object once, with the version `null`: buckets have no versioning."""
    query = call.request.query
    marker, version_marker = query.get("key-marker", ""), query.get("version-id-marker", "")
    if version_marker and not marker:
        raise invalid_argument("version-id-marker", version_marker, "A version-id marker needs a key marker.")
    encode = key_encoder(call.request)
    page = await _page(call, marker)
    return xml_answer(
        "ListVersionsResult",
        [
            ("Name", call.bucket.bucket_name),
            ("Prefix", encode(query.get("prefix", ""))),
            ("KeyMarker", encode(marker)),
            ("VersionIdMarker", version_marker),
            ("MaxKeys", max_keys(call.request)),
            ("Delimiter", encode(query.get("delimiter", ""))),
            encoding_type(call.request),
            ("IsTruncated", page.next_after is not None),
            ("NextKeyMarker", encode(page.next_after)) if page.next_after is not None else None,
            ("NextVersionIdMarker", NULL_VERSION) if page.next_after is not None else None,
            *(_version(call, stored) for stored in page.objects),
            *_folded(call, page),
        ],
    )


def max_keys(request: Request, name: str = "max-keys", default: int = MAX_KEYS_DEFAULT) -> int:
    """The page size requested by the parameter `name`. Raises OssError InvalidArgument."""
    text = request.query.get(name, "")
    if not text:
        return default
    number = natural(text, MAX_KEYS_MAX)
    if not number:
        raise invalid_argument(name, text, f"Argument {name} must be an integer between 1 and {MAX_KEYS_MAX}.")
    return number


def check_places(request: Request) -> None:
    """Raises OssError InvalidArgument for a prefix, a delimiter or a marker that is longer than any key."""
    for name in _PLACES:
        value = request.query.get(name, "")
        if len(value.encode()) > KEY_BYTES_MAX:
            raise invalid_argument(name, value, f"The length of {name} must be less than {KEY_BYTES_MAX + 1} bytes.")


async def _page(call: Call, after: str) -> ObjectPage:
    check_places(call.request)
    query = call.request.query
    return await call.dependencies.objects.page(
        ListQuery(
            bucket=call.bucket.bucket_name,
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            after=after,
            limit=max_keys(call.request),
        )
    )


def _entries(call: Call, page: ObjectPage, *, with_owner: bool) -> list[xml.Element]:
    objects: list[xml.Element] = [
        ("Contents", [*_description(call, stored), owner(call.bucket.account_id) if with_owner else None])
        for stored in page.objects
    ]
    return objects + _folded(call, page)


def _version(call: Call, stored: StoredObject) -> xml.Element:
    told = [("VersionId", NULL_VERSION), ("IsLatest", True), owner(call.bucket.account_id)]
    return ("Version", [*_description(call, stored), *told])


def _description(call: Call, stored: StoredObject) -> list[xml.Element]:
    return [
        ("Key", key_encoder(call.request)(stored.key)),
        ("LastModified", xml_time(stored.modified_at)),
        ("ETag", f'"{stored.etag}"'),
        ("Type", stored.kind.value),
        ("Size", stored.size),
        ("StorageClass", stored.meta.storage_class),
        ("RestoreInfo", state) if (state := restore_state(stored, call.dependencies.clock())) else None,
    ]


def _folded(call: Call, page: ObjectPage) -> list[xml.Element]:
    encode = key_encoder(call.request)
    return [("CommonPrefixes", [("Prefix", encode(prefix))]) for prefix in page.prefixes]


def _token(after: str) -> str:
    """Contains no characters that URL decoding changes: with `encoding-type=url`, only some clients decode tokens."""
    return base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def _after(token: str) -> str:
    padding = "=" * (-len(token) % 4)
    try:
        return base64.b64decode(token + padding, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as exc:
        raise invalid_argument("continuation-token", token, "The continuation token is invalid.") from exc
