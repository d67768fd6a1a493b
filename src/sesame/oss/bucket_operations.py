"""Creates, lists, deletes and describes buckets.

Routed to by `oss.routes`. The catalog stores buckets (`control.buckets`); objects are only counted here.
"""

from collections.abc import Iterator, Mapping

import msgspec

from sesame.model.bucket import Bucket
from sesame.model.records import Record
from sesame.oss import xml
from sesame.oss.answers import Answer, owner, xml_answer, xml_time
from sesame.oss.calls import Call
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.listings import check_places, max_keys
from sesame.oss.metadata import BUCKET_ACLS, STORAGE_CLASSES, one_of
from sesame.oss.object_properties import tag_set
from sesame.store.objects.reader import Totals

REDUNDANCIES = ("LRS", "ZRS")
# BucketStat's names of the storage classes, in the order of STORAGE_CLASSES.
_STAT_NAMES = ("Standard", "InfrequentAccess", "Archive", "ColdArchive", "DeepColdArchive")


async def list_buckets(call: Call) -> Answer:
    """Lists the buckets of the caller's account. Paging elements are present only if another page follows."""
    check_places(call.request)
    query, account_id = call.request.query, call.caller.principal.account_id
    prefix, marker, limit = query.get("prefix", ""), query.get("marker", ""), max_keys(call.request)
    wanted = _wanted_tags(query.get("tagging", ""))
    found = [
        record
        for record in call.dependencies.buckets.of_account(account_id)
        if record.name.startswith(prefix)
        and record.name > marker
        and _has_tag(record.document, query)
        and wanted.items() <= record.document.tags.items()
    ]
    shown, truncated = found[:limit], len(found) > limit
    paging: list[xml.Element] = [
        ("Prefix", prefix),
        ("Marker", marker),
        ("MaxKeys", limit),
        ("IsTruncated", True),
        ("NextMarker", shown[-1].name if shown else ""),
    ]
    return xml_answer(
        "ListAllMyBucketsResult",
        [
            *(paging if truncated else []),
            owner(account_id),
            ("Buckets", [("Bucket", [*_description(call, record), *_tags_of(call, record)]) for record in shown]),
        ],
    )


def _has_tag(bucket: Bucket, query: Mapping[str, str]) -> bool:
    name, value = query.get("tag-key", ""), query.get("tag-value", "")
    return not name or (name in bucket.tags and (not value or bucket.tags[name] == value))


def _tags_of(call: Call, record: Record) -> list[xml.Element]:
    """Included only if the request filters buckets by tags."""
    return [("Tagging", [tag_set(record.document.tags)])] if call.request.query.get("tagging") else []


def _wanted_tags(text: str) -> dict[str, str]:
    """Parses `"k1":"v1","k2":"v2"`; a bucket must have all of these tags. Raises OssError InvalidArgument."""
    try:
        return msgspec.json.decode(f"{{{text}}}", type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise invalid_argument("tagging", text) from error


async def list_regions(call: Call) -> Answer:
    """Lists the only region, with the endpoint that the caller used. Raises OssError NoSuchRegion for another."""
    mine = f"oss-{call.dependencies.region}"
    if call.request.query["regions"] not in ("", mine):
        raise OssError("NoSuchRegion", details={"Region": call.request.query["regions"]})
    host = call.request.endpoint.partition("://")[2]
    names = [("Region", mine), ("InternetEndpoint", host), ("InternalEndpoint", host), ("AccelerateEndpoint", "")]
    return xml_answer("RegionInfoList", [("RegionInfo", names)])


async def put_bucket(call: Call) -> Answer:
    storage_class, redundancy = STORAGE_CLASSES[0], REDUNDANCIES[0]
    body = await call.body.whole(xml.BODY_BYTES_MAX)
    if body:
        root = await xml.read_bytes(body, "CreateBucketConfiguration")
        storage_class = xml.text(root, "StorageClass") or storage_class
        redundancy = xml.text(root, "DataRedundancyType") or redundancy
    if storage_class not in STORAGE_CLASSES:
        raise invalid_argument("StorageClass", storage_class)
    if redundancy not in REDUNDANCIES:
        raise invalid_argument("DataRedundancyType", redundancy)
    wanted = Bucket(
        bucket_name=call.request.bucket,
        account_id=call.caller.principal.account_id,
        acl=one_of(call.request, "x-oss-acl", BUCKET_ACLS),
        storage_class=storage_class,
        redundancy=redundancy,
    )
    await call.dependencies.buckets.create(wanted, sets_acl=bool(call.request.header("x-oss-acl")))
    return Answer(headers={"Location": f"/{wanted.bucket_name}"})


async def delete_bucket(call: Call) -> Answer:
    await call.dependencies.buckets.delete(call.bucket.bucket_name)
    return Answer(status=204)


async def get_bucket_info(call: Call) -> Answer:
    bucket = call.bucket
    record = call.dependencies.buckets.record(bucket.bucket_name)
    return xml_answer(
        "BucketInfo",
        [
            (
                "Bucket",
                [
                    *_description(call, record),
                    owner(bucket.account_id),
                    ("AccessControlList", [("Grant", bucket.acl)]),
                    ("DataRedundancyType", bucket.redundancy),
                    ("Comment", ""),
                    ("AccessMonitor", "Disabled"),
                    ("TransferAcceleration", "Disabled"),
                    ("CrossRegionReplication", "Disabled"),
                    ("BlockPublicAccess", bucket.blocks_public_access),
                    ("ResourceGroupId", ""),
                    ("ServerSideEncryptionRule", [("SSEAlgorithm", "None")]),
                    ("BucketPolicy", [("LogBucket", ""), ("LogPrefix", "")]),
                ],
            )
        ],
    )


async def get_bucket_location(call: Call) -> Answer:
    return xml_answer("LocationConstraint", _location(call))


async def get_bucket_acl(call: Call) -> Answer:
    grants: xml.Element = ("AccessControlList", [("Grant", call.bucket.acl)])
    return xml_answer("AccessControlPolicy", [owner(call.bucket.account_id), grants])


async def put_bucket_acl(call: Call) -> Answer:
    if not call.request.header("x-oss-acl"):
        raise invalid_argument("x-oss-acl", "")
    acl = one_of(call.request, "x-oss-acl", BUCKET_ACLS)
    await call.dependencies.buckets.change(
        call.bucket.bucket_name, lambda bucket: msgspec.structs.replace(bucket, acl=acl)
    )
    return Answer(headers={"Location": f"/{call.bucket.bucket_name}"})


async def get_bucket_stat(call: Call) -> Answer:
    totals = await call.dependencies.objects.totals(call.bucket.bucket_name)
    return xml_answer(
        "BucketStat",
        [
            ("Storage", totals.size_bytes),
            ("ObjectCount", totals.objects),
            ("MultipartUploadCount", totals.uploads),
            ("LiveChannelCount", 0),
            ("LastModifiedTime", int(totals.modified_at)),
            *_by_storage_class(totals),
            ("MultipartPartCount", totals.parts),
            ("DeleteMarkerCount", 0),
        ],
    )


async def list_live_channels(call: Call) -> Answer:
    """Always empty; clients list live channels before they delete a bucket."""
    return xml_answer(
        "ListLiveChannelResult",
        [
            ("Prefix", call.request.query.get("prefix", "")),
            ("Marker", call.request.query.get("marker", "")),
            ("MaxKeys", max_keys(call.request)),
            ("IsTruncated", False),
            ("NextMarker", ""),
        ],
    )


def _by_storage_class(totals: Totals) -> Iterator[xml.Element]:
    for storage_class, name in zip(STORAGE_CLASSES, _STAT_NAMES, strict=True):
        count, size = totals.by_storage_class.get(storage_class, (0, 0))
        yield (f"{name}Storage", size)
        if name != "Standard":
            yield (f"{name}RealStorage", size)
        yield (f"{name}ObjectCount", count)


def _description(call: Call, record: Record) -> list[xml.Element]:
    """Clients send their next requests to the endpoints in it, so these are the address of this request."""
    bucket: Bucket = record.document
    return [
        ("Name", bucket.bucket_name),
        ("Location", _location(call)),
        ("Region", call.dependencies.region),
        ("CreationDate", xml_time(record.created_at)),
        ("ExtranetEndpoint", call.request.endpoint),
        ("IntranetEndpoint", call.request.endpoint),
        ("StorageClass", bucket.storage_class),
    ]


def _location(call: Call) -> str:
    return f"oss-{call.dependencies.region}"
