"""The table of operations by level (service, bucket, object), method and sub-resource, with the parameters they accept.

Read by `oss.routes`. A query parameter or `x-oss-` header that an operation does not list is refused, never ignored.
"""

from collections.abc import Awaitable, Callable

import msgspec

from sesame.oss import access_settings as access
from sesame.oss import bucket_operations as buckets
from sesame.oss import bucket_settings, copying, lifecycle_rules, listings, multipart, post_object, restore
from sesame.oss import object_operations as objects
from sesame.oss import object_properties as properties
from sesame.oss.answers import Answer
from sesame.oss.calls import Call
from sesame.oss.metadata import PERSISTENT

PAGING = frozenset({"prefix", "delimiter", "marker", "max-keys", "encoding-type"})
_ENCODING = frozenset({"encoding-type"})
_VERSION = frozenset({"versionId"})
_OVERRIDES = frozenset(
    {
        "response-content-type", "response-content-language", "response-cache-control", "response-content-encoding",
        "response-expires", "response-content-disposition",
    }
)  # fmt: skip
_ACL = frozenset({"x-oss-acl"})
_OBJECT_ACL = frozenset({"x-oss-object-acl"})
_NEW_OBJECT = _OBJECT_ACL | {"x-oss-storage-class", "x-oss-tagging", "x-oss-forbid-overwrite", PERSISTENT}
# SDKs repeat an object's headers in every request of its upload; only the first request applies them.
_OF_UPLOAD = _NEW_OBJECT | {"x-oss-complete-all"}
_SOURCE = frozenset(
    {
        copying.SOURCE_HEADER, "x-oss-copy-source-if-match", "x-oss-copy-source-if-none-match",
        "x-oss-copy-source-if-modified-since", "x-oss-copy-source-if-unmodified-since",
    }
)  # fmt: skip


class Operation(msgspec.Struct, frozen=True):
    """`action` is its name in RAM policies; "" if the operation itself checks the caller's rights, after reading the
    body.

    `query`: the parameters accepted besides its sub-resource. `headers`: the `x-oss-` headers accepted; with
    `user_meta`, also those starting with `x-oss-meta-`.
    """

    run: Callable[[Call], Awaitable[Answer]]
    action: str
    query: frozenset[str] = frozenset()
    headers: frozenset[str] = frozenset()
    user_meta: bool = False


Table = dict[tuple[str, str], Operation]
"""Operations by method and sub-resource, "" for the plain operation."""

SERVICE: Table = {
    ("GET", ""): Operation(
        buckets.list_buckets,
        "oss:ListBuckets",
        frozenset({"prefix", "marker", "max-keys", "tag-key", "tag-value", "tagging"}),
    ),
    ("GET", "publicAccessBlock"): Operation(access.get_account_public_access_block, "oss:GetPublicAccessBlock"),
    ("PUT", "publicAccessBlock"): Operation(access.put_account_public_access_block, "oss:PutPublicAccessBlock"),
    ("DELETE", "publicAccessBlock"): Operation(access.clear_account_public_access_block, "oss:DeletePublicAccessBlock"),
    ("GET", "regions"): Operation(buckets.list_regions, "oss:DescribeRegions"),
}
BUCKET: Table = {
    ("GET", ""): Operation(listings.list_objects, "oss:ListObjects", PAGING),
    ("GET", "list-type"): Operation(
        listings.list_objects_v2,
        "oss:ListObjects",
        (PAGING - {"marker"}) | {"start-after", "fetch-owner", "continuation-token"},
    ),
    ("GET", "versions"): Operation(
        listings.list_versions, "oss:ListObjectVersions", (PAGING - {"marker"}) | {"key-marker", "version-id-marker"}
    ),
    ("PUT", ""): Operation(buckets.put_bucket, "oss:PutBucket", headers=_ACL),
    ("DELETE", ""): Operation(buckets.delete_bucket, "oss:DeleteBucket"),
    ("POST", ""): Operation(post_object.post_object, ""),
    ("POST", "delete"): Operation(objects.delete_objects, "", _ENCODING),
    ("GET", "bucketInfo"): Operation(buckets.get_bucket_info, "oss:GetBucketInfo"),
    ("GET", "location"): Operation(buckets.get_bucket_location, "oss:GetBucketLocation"),
    ("GET", "acl"): Operation(buckets.get_bucket_acl, "oss:GetBucketAcl"),
    ("PUT", "acl"): Operation(buckets.put_bucket_acl, "oss:PutBucketAcl", headers=_ACL),
    ("GET", "stat"): Operation(buckets.get_bucket_stat, "oss:GetBucketStat"),
    ("GET", "uploads"): Operation(
        multipart.list_uploads,
        "oss:ListMultipartUploads",
        frozenset({"prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"}),
    ),
    ("GET", "tagging"): Operation(bucket_settings.get_tags, "oss:GetBucketTagging"),
    ("PUT", "tagging"): Operation(bucket_settings.put_tags, "oss:PutBucketTagging"),
    ("DELETE", "tagging"): Operation(bucket_settings.delete_tags, "oss:DeleteBucketTagging"),
    ("GET", "cors"): Operation(bucket_settings.get_cors, "oss:GetBucketCors"),
    ("PUT", "cors"): Operation(bucket_settings.put_cors, "oss:PutBucketCors"),
    ("DELETE", "cors"): Operation(bucket_settings.delete_cors, "oss:DeleteBucketCors"),
    ("GET", "publicAccessBlock"): Operation(access.get_public_access_block, "oss:GetBucketPublicAccessBlock"),
    ("PUT", "publicAccessBlock"): Operation(access.put_public_access_block, "oss:PutBucketPublicAccessBlock"),
    ("DELETE", "publicAccessBlock"): Operation(access.delete_public_access_block, "oss:DeleteBucketPublicAccessBlock"),
    ("GET", "requestPayment"): Operation(access.get_request_payment, "oss:GetBucketRequestPayment"),
    ("PUT", "requestPayment"): Operation(access.put_request_payment, "oss:PutBucketRequestPayment"),
    ("GET", "bucketArchiveDirectRead"): Operation(access.get_archive_direct_read, "oss:GetBucketArchiveDirectRead"),
    ("PUT", "bucketArchiveDirectRead"): Operation(access.put_archive_direct_read, "oss:PutBucketArchiveDirectRead"),
    ("GET", "lifecycle"): Operation(lifecycle_rules.get_lifecycle, "oss:GetBucketLifecycle"),
    ("PUT", "lifecycle"): Operation(
        lifecycle_rules.put_lifecycle, "oss:PutBucketLifecycle", headers=frozenset({lifecycle_rules.OVERLAP_HEADER})
    ),
    ("DELETE", "lifecycle"): Operation(lifecycle_rules.delete_lifecycle, "oss:DeleteBucketLifecycle"),
    ("GET", "referer"): Operation(access.get_referer, "oss:GetBucketReferer"),
    ("PUT", "referer"): Operation(access.put_referer, "oss:PutBucketReferer"),
    ("GET", "live"): Operation(
        buckets.list_live_channels, "oss:ListLiveChannel", frozenset({"prefix", "marker", "max-keys"})
    ),
}
# Settings that Sesame does not support: reading one reports that it is unset; PUT is not implemented.
NEVER_SET: tuple[tuple[str, str, Callable[[Call], Awaitable[Answer]]], ...] = (
    ("logging", "Logging", bucket_settings.unset("BucketLoggingStatus")),
    ("versioning", "Versioning", bucket_settings.unset("VersioningConfiguration")),
    ("website", "Website", bucket_settings.missing("NoSuchWebsiteConfiguration")),
    ("policy", "Policy", bucket_settings.missing("NoSuchBucketPolicy")),
    ("encryption", "Encryption", bucket_settings.missing("NoSuchServerSideEncryptionRule")),
)
for _subresource, _name, _answer in NEVER_SET:
    BUCKET["GET", _subresource] = Operation(_answer, f"oss:GetBucket{_name}")
    BUCKET["DELETE", _subresource] = Operation(bucket_settings.nothing_to_delete, f"oss:DeleteBucket{_name}")
OBJECT: Table = {
    ("PUT", ""): Operation(objects.put_object, "oss:PutObject", headers=_NEW_OBJECT, user_meta=True),
    ("GET", ""): Operation(
        objects.get_object, "oss:GetObject", _OVERRIDES | _VERSION, frozenset({"x-oss-range-behavior"})
    ),
    ("HEAD", ""): Operation(
        objects.head_object, "oss:GetObject", _OVERRIDES | _VERSION, frozenset({"x-oss-range-behavior"})
    ),
    ("HEAD", "objectMeta"): Operation(objects.get_object_meta, "oss:GetObject", _VERSION),
    ("GET", "objectMeta"): Operation(objects.get_object_meta, "oss:GetObject", _VERSION),
    ("DELETE", ""): Operation(objects.delete_object, "oss:DeleteObject", _VERSION),
    ("POST", "append"): Operation(
        multipart.append_object, "oss:PutObject", frozenset({"position"}), _NEW_OBJECT, user_meta=True
    ),
    ("POST", "uploads"): Operation(multipart.initiate, "oss:PutObject", _ENCODING, _NEW_OBJECT, user_meta=True),
    ("PUT", "uploadId"): Operation(
        multipart.put_part, "oss:PutObject", frozenset({"partNumber"}), _OF_UPLOAD, user_meta=True
    ),
    ("POST", "uploadId"): Operation(
        multipart.complete,
        "oss:PutObject",
        _ENCODING,
        _OBJECT_ACL | {"x-oss-complete-all", "x-oss-forbid-overwrite", PERSISTENT},
    ),
    ("DELETE", "uploadId"): Operation(multipart.abort, "oss:AbortMultipartUpload"),
    ("GET", "uploadId"): Operation(
        multipart.list_parts,
        "oss:ListParts",
        frozenset({"max-parts", "part-number-marker", "encoding-type"}),
        _OF_UPLOAD,
        user_meta=True,
    ),
    ("POST", "restore"): Operation(restore.restore_object, "oss:RestoreObject", _VERSION),
    ("POST", "cleanRestoredObject"): Operation(restore.clean_restored_object, "oss:CleanRestoredObject", _VERSION),
    ("GET", "acl"): Operation(properties.get_object_acl, "oss:GetObjectAcl", _VERSION),
    ("PUT", "acl"): Operation(properties.put_object_acl, "oss:PutObjectAcl", _VERSION, _OBJECT_ACL),
    ("GET", "tagging"): Operation(properties.get_object_tagging, "oss:GetObjectTagging", _VERSION),
    # Policy conditions may need the tags in the body, so the operation checks the rights.
    ("PUT", "tagging"): Operation(properties.put_object_tagging, "", _VERSION),
    ("DELETE", "tagging"): Operation(properties.delete_object_tagging, "oss:DeleteObjectTagging", _VERSION),
    ("GET", "symlink"): Operation(properties.get_symlink, "oss:GetObject", _VERSION),
    ("PUT", "symlink"): Operation(
        properties.put_symlink, "oss:PutObject", headers=_NEW_OBJECT | {"x-oss-symlink-target"}, user_meta=True
    ),
}
# A PUT of an object that names a source instead of having a body.
COPIES: Table = {
    ("PUT", ""): Operation(
        copying.copy_object,
        "oss:PutObject",
        headers=_NEW_OBJECT | _SOURCE | {"x-oss-metadata-directive", "x-oss-tagging-directive"},
        user_meta=True,
    ),
    ("PUT", "uploadId"): Operation(
        multipart.copy_part, "oss:PutObject", frozenset({"partNumber"}), _SOURCE | {"x-oss-copy-source-range"}
    ),
}
