"""Which operation a request means: by level (service, bucket, object), method and sub-resource, and the right it needs.

Read by `oss.app`. What the real service has and this door has not is refused, never taken for something else.
"""

from collections.abc import Awaitable, Callable

import msgspec

from sesame.oss import bucket_operations as buckets
from sesame.oss import bucket_settings, listings, multipart
from sesame.oss import object_operations as objects
from sesame.oss import object_properties as properties
from sesame.oss.answers import Answer
from sesame.oss.calls import Call
from sesame.oss.errors import OssError
from sesame.oss.request import Request
from sesame.oss.signature import SUBRESOURCES


class Operation(msgspec.Struct, frozen=True):
    """`action` is what RAM policies call it; "" where the operation asks for itself, object by object."""

    run: Callable[[Call], Awaitable[Answer]]
    action: str


_SERVICE = {
    ("GET", ""): Operation(buckets.list_buckets, "oss:ListBuckets"),
}
_BUCKET = {
    ("GET", ""): Operation(listings.list_objects, "oss:ListObjects"),
    ("PUT", ""): Operation(buckets.put_bucket, "oss:PutBucket"),
    ("DELETE", ""): Operation(buckets.delete_bucket, "oss:DeleteBucket"),
    ("POST", "delete"): Operation(objects.delete_objects, ""),
    ("GET", "bucketInfo"): Operation(buckets.get_bucket_info, "oss:GetBucketInfo"),
    ("GET", "location"): Operation(buckets.get_bucket_location, "oss:GetBucketLocation"),
    ("GET", "acl"): Operation(buckets.get_bucket_acl, "oss:GetBucketAcl"),
    ("PUT", "acl"): Operation(buckets.put_bucket_acl, "oss:PutBucketAcl"),
    ("GET", "stat"): Operation(buckets.get_bucket_stat, "oss:GetBucketStat"),
    ("GET", "uploads"): Operation(multipart.list_uploads, "oss:ListMultipartUploads"),
    ("GET", "tagging"): Operation(bucket_settings.get_tags, "oss:GetBucketTagging"),
    ("PUT", "tagging"): Operation(bucket_settings.put_tags, "oss:PutBucketTagging"),
    ("DELETE", "tagging"): Operation(bucket_settings.delete_tags, "oss:DeleteBucketTagging"),
    ("GET", "cors"): Operation(bucket_settings.get_cors, "oss:GetBucketCors"),
    ("PUT", "cors"): Operation(bucket_settings.put_cors, "oss:PutBucketCors"),
    ("DELETE", "cors"): Operation(bucket_settings.delete_cors, "oss:DeleteBucketCors"),
    ("GET", "live"): Operation(buckets.list_live_channels, "oss:ListLiveChannel"),
}
# What is never set here: the true answer to whoever asks; to set it is not implemented.
_NEVER_SET: tuple[tuple[str, str, Callable[[Call], Awaitable[Answer]]], ...] = (
    ("logging", "Logging", bucket_settings.unset("BucketLoggingStatus")),
    ("versioning", "Versioning", bucket_settings.unset("VersioningConfiguration")),
    (
        "requestPayment",
        "RequestPayment",
        bucket_settings.unset("RequestPaymentConfiguration", [("Payer", "BucketOwner")]),
    ),
    (
        "referer",
        "Referer",
        bucket_settings.unset("RefererConfiguration", [("AllowEmptyReferer", True), ("RefererList", ())]),
    ),
    ("lifecycle", "Lifecycle", bucket_settings.missing("NoSuchLifecycle")),
    ("website", "Website", bucket_settings.missing("NoSuchWebsiteConfiguration")),
    ("policy", "Policy", bucket_settings.missing("NoSuchBucketPolicy")),
    ("encryption", "Encryption", bucket_settings.missing("NoSuchServerSideEncryptionRule")),
)
for _subresource, _name, _answer in _NEVER_SET:
    _BUCKET["GET", _subresource] = Operation(_answer, f"oss:GetBucket{_name}")
    _BUCKET["DELETE", _subresource] = Operation(bucket_settings.nothing_to_delete, f"oss:DeleteBucket{_name}")
_OBJECT = {
    ("PUT", ""): Operation(objects.put_object, "oss:PutObject"),
    ("GET", ""): Operation(objects.get_object, "oss:GetObject"),
    ("HEAD", ""): Operation(objects.head_object, "oss:GetObject"),
    ("HEAD", "objectMeta"): Operation(objects.get_object_meta, "oss:GetObject"),
    ("GET", "objectMeta"): Operation(objects.get_object_meta, "oss:GetObject"),
    ("DELETE", ""): Operation(objects.delete_object, "oss:DeleteObject"),
    ("POST", "append"): Operation(multipart.append_object, "oss:PutObject"),
    ("POST", "uploads"): Operation(multipart.initiate, "oss:PutObject"),
    ("PUT", "uploadId"): Operation(multipart.put_part, "oss:PutObject"),
    ("POST", "uploadId"): Operation(multipart.complete, "oss:PutObject"),
    ("DELETE", "uploadId"): Operation(multipart.abort, "oss:AbortMultipartUpload"),
    ("GET", "uploadId"): Operation(multipart.list_parts, "oss:ListParts"),
    ("GET", "acl"): Operation(properties.get_object_acl, "oss:GetObjectAcl"),
    ("PUT", "acl"): Operation(properties.put_object_acl, "oss:PutObjectAcl"),
    ("GET", "tagging"): Operation(properties.get_object_tagging, "oss:GetObjectTagging"),
    ("PUT", "tagging"): Operation(properties.put_object_tagging, "oss:PutObjectTagging"),
    ("DELETE", "tagging"): Operation(properties.delete_object_tagging, "oss:DeleteObjectTagging"),
    ("GET", "symlink"): Operation(properties.get_symlink, "oss:GetObject"),
    ("PUT", "symlink"): Operation(properties.put_symlink, "oss:PutObject"),
}
# Signed query names that only shape an operation and do not choose one.
_MODIFIERS = frozenset(
    {
        "response-content-type", "response-content-language", "response-cache-control", "response-content-encoding",
        "response-expires", "response-content-disposition", "security-token", "continuation-token", "partNumber",
        "position", "comp", "status", "startTime", "endTime", "x-oss-traffic-limit", "x-oss-request-payer",
        "sequential",
    }
)  # fmt: skip
_CHOOSING = SUBRESOURCES - _MODIFIERS


def route(request: Request) -> Operation:
    """Raises OssError NotImplemented, MethodNotAllowed."""
    table = _OBJECT if request.key else _BUCKET if request.bucket else _SERVICE
    chosen = sorted(_CHOOSING & request.query.keys())
    if len(chosen) > 1:
        raise OssError("InvalidArgument", f"{chosen[0]} and {chosen[1]} cannot be asked for together.")
    subresource = chosen[0] if chosen else ""
    operation = table.get((request.method, subresource))
    if operation is not None:
        return operation
    details = {"Method": request.method, "ResourceType": subresource}
    never_set = request.method == "PUT" and table is _BUCKET and any(subresource == name for name, *_ in _NEVER_SET)
    if not never_set and any(known == subresource for _, known in table):
        raise OssError("MethodNotAllowed", details=details)
    raise OssError("NotImplemented", details=details)
