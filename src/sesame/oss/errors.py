"""Errors of the OSS endpoint, with OSS's codes, statuses, texts and EC numbers (reference/companions.md §1.7, §1.8).

Raised by every module of this package; `oss.app` turns them into XML, or for HEAD into the header `x-oss-err`, and
adds request id and host.
"""

from collections.abc import Mapping

from sesame.control.buckets import BUCKETS
from sesame.model import errors, records
from sesame.store.objects.multipart import PartReplaced
from sesame.store.objects.objects import NotAppendable, PositionMismatch

# code: (status, message, EC); a caller may give a more specific message.
_CATALOGUE: dict[str, tuple[int, str, str]] = {
    "AccessDenied": (403, "AccessDenied", "0003-00000001"),
    "AccessForbidden": (403, "CORSResponse: This CORS request is not allowed.", "0022-00000001"),
    "AccessKeyIdAndSecurityTokenNotMatch": (
        403,
        "The security token you provided does not match the access key id you provided.",
        "0002-00000004",
    ),
    "ArchiveRestoreFileStale": (409, "The object has not been restored.", "0026-00000402"),
    "ArchiveRestoreNotFinished": (409, "The restore operation is in progress.", "0026-00000403"),
    "BadRequest": (400, "A CORS request must name its Origin and Access-Control-Request-Method.", "0022-00000002"),
    "BucketAlreadyExists": (409, "The requested bucket name is not available.", "0015-00000104"),
    "BucketNotEmpty": (409, "The bucket has objects. Please delete them first.", "0015-00000301"),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed object size.", "0016-00000203"),
    "EntityTooSmall": (400, "Your proposed upload smaller than the minimum allowed size.", "0042-00000061"),
    "FileAlreadyExists": (409, "The object you specified already exists and can not be overwritten.", "0026-00000121"),
    "FieldItemTooLong": (400, "Your post fields items too large.", "0031-00000002"),
    "IncompleteBody": (400, "The request body terminated unexpectedly", "0017-00000206"),
    "IncorrectNumberOfFilesInPOSTRequest": (
        400,
        "POST requires exactly one file upload per request.",
        "0031-00000003",
    ),
    "InternalError": (500, "We encountered an internal error. Please try again.", "0000-00000001"),
    "InvalidAccessKeyId": (
        403,
        "The OSS Access Key Id you provided does not exist in our records.",
        "0002-00000002",
    ),
    "InvalidArgument": (400, "Invalid Argument.", "0017-00000901"),
    "InvalidBucketName": (400, "The specified bucket is not valid.", "0015-00000001"),
    "InvalidDigest": (400, "The Content-MD5 you specified was invalid.", "0017-00000204"),
    "InvalidEncryptionAlgorithmError": (
        400,
        "The Encryption request you specified is not valid. Supported value: AES256/KMS/SM4.",
        "0016-00000501",
    ),
    "InvalidObjectName": (400, "The specified object is not valid.", "0016-00000001"),
    "InvalidObjectState": (403, "The operation is not valid for the object's state", "0026-00000401"),
    "InvalidPart": (
        400,
        "One or more of the specified parts could not be found or the specified entity tag might not have matched "
        "the part's entity tag.",
        "0042-00000023",
    ),
    "InvalidPartOrder": (
        400,
        "The list of parts was not in ascending order. Parts list must specified in order by part number.",
        "0042-00000022",
    ),
    "InvalidPolicyDocument": (400, "Invalid Policy: Invalid JSON or conditions.", "0031-00000001"),
    "InvalidRange": (416, "The requested range cannot be satisfied", "0026-00000061"),
    "InvalidRequest": (400, "The request is invalid.", "0017-00000902"),
    "InvalidSecurityToken": (403, "The security token you provided is invalid.", "0002-00000006"),
    "InvalidTargetType": (400, "The target type is invalid.", "0029-00000002"),
    "MalformedPOSTRequest": (
        400,
        "The body of your POST request is not well-formed multipart/form-data.",
        "0031-00000004",
    ),
    "MalformedXML": (
        400,
        "The XML you provided was not well-formed or did not validate against our published schema.",
        "0017-00000103",
    ),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource.", "0017-00000905"),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header.", "0017-00000207"),
    "NoSuchBucket": (404, "The specified bucket does not exist.", "0015-00000101"),
    "NoSuchBucketPolicy": (404, "The bucket policy does not exist.", "0015-00000501"),
    "NoSuchCORSConfiguration": (404, "The CORS Configuration does not exist.", "0015-00000502"),
    "NoSuchKey": (404, "The specified key does not exist.", "0026-00000001"),
    "NoSuchLifecycle": (404, "No Row found in Lifecycle Table.", "0015-00000503"),
    "NoSuchRegion": (404, "The specified region does not exist.", "0015-00000506"),
    "NoSuchServerSideEncryptionRule": (404, "The server side encryption rule does not exist.", "0015-00000504"),
    "NoSuchUpload": (
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
        "0042-00000002",
    ),
    "NoSuchVersion": (404, "The specified version does not exist.", "0026-00000002"),
    "NoSuchWebsiteConfiguration": (404, "The specified bucket does not have a website configuration.", "0015-00000505"),
    "NotImplemented": (
        400,
        "A header or a query you provided implies functionality that is not implemented.",
        "0017-00000903",
    ),
    # Answered without a body: the client's copy is current.
    "NotModified": (304, "Not Modified", "0026-00000302"),
    "NotSymlink": (400, "The object is not symlink object.", "0029-00000003"),
    "ObjectNotAppendable": (409, "The object is not appendable", "0026-00000201"),
    "OperationNotSupported": (400, "The operation is not supported for this resource", "0017-00000904"),
    "PositionNotEqualToLength": (409, "Position is not equal to file length", "0026-00000202"),
    "PreconditionFailed": (
        412,
        "At least one of the pre-conditions you specified did not hold.",
        "0026-00000301",
    ),
    "RequestTimeTooSkewed": (
        403,
        "The difference between the request time and the current time is too large.",
        "0002-00000504",
    ),
    "RequestTimeout": (
        400,
        "Your socket connection to the server was not read from or written to within the timeout period.",
        "0017-00000906",
    ),
    "RestoreAlreadyInProgress": (409, "The restore operation is in progress.", "0026-00000404"),
    "SecurityTokenExpired": (403, "The security token you provided has expired.", "0002-00000007"),
    "ServiceUnavailable": (503, "Please reduce your request rate.", "0010-00000001"),
    "SignatureDoesNotMatch": (
        403,
        "The request signature we calculated does not match the signature you provided. Check your key and signing "
        "method.",
        "0002-00000040",
    ),
    "SymlinkTargetNotExist": (404, "The symlink target object does not exist", "0026-00000011"),
    "TooManyBuckets": (400, "You have attempted to create more buckets than allowed.", "0015-00000002"),
}  # fmt: skip


class OssError(errors.CallerError):
    """`details` become elements of the XML beside Code and Message; `headers` are added to the answer."""

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        details: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        ec: str = "",
    ) -> None:
        status, usual, usual_ec = _CATALOGUE[code]
        super().__init__(message or usual)
        self.code = code
        self.status = status
        self.ec = ec or usual_ec
        self.details = dict(details or {})
        self.headers = dict(headers or {})


def invalid_argument(name: str, value: str, message: str = "") -> OssError:
    return OssError("InvalidArgument", message, details={"ArgumentName": name, "ArgumentValue": value})


def no_such_key(key: str) -> OssError:
    return OssError("NoSuchKey", details={"Key": key})


_NOT_FOUND = {errors.OBJECT: "NoSuchKey", errors.UPLOAD: "NoSuchUpload"}


def as_oss_error(error: errors.CallerError) -> OssError:
    """Translates an error of a lower package into OSS's codes; InvalidArgument where no other code fits."""
    match error:
        case OssError():
            return error
        case errors.NotFound(kind=records.BUCKET, name=name):
            return OssError("NoSuchBucket", details={"BucketName": name})
        case errors.NotFound() if error.kind in _NOT_FOUND:
            return OssError(_NOT_FOUND[error.kind])
        case errors.AlreadyExists(kind=records.BUCKET, name=name):
            return OssError("BucketAlreadyExists", details={"BucketName": name})
        case errors.TooMany() if error.field == BUCKETS:
            return OssError("TooManyBuckets")
        case errors.AlreadyExists(kind=errors.OBJECT):
            return OssError("FileAlreadyExists")
        case errors.NotEmpty(kind=records.BUCKET):
            return OssError("BucketNotEmpty", f"The bucket has {error.held}. Please delete them first.")
        case NotAppendable():
            return OssError("ObjectNotAppendable")
        case PartReplaced():
            return OssError("InvalidPart")
        case PositionMismatch():
            return OssError("PositionNotEqualToLength", headers={"x-oss-next-append-position": str(error.length)})
        case _:
            return OssError("InvalidArgument", str(error))
