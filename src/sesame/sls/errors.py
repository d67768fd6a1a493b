"""Errors of the Log Service endpoint, with the codes, statuses and texts of its API (reference/companions.md §4.6).

Raised by every module of this package; `sls.app` turns them into JSON. `as_sls_error` translates the errors of
lower packages (`model.errors`).
"""

from sesame.model import errors
from sesame.model.logstore import CONSUMER, CONSUMER_GROUP, LOG_INDEX, LOG_PROJECT, LOG_SHARD, LOGSTORE
from sesame.store.logs.query.refusals import QueryRefused

# code: (status, message); a caller may give a more specific message.
_CATALOGUE: dict[str, tuple[int, str]] = {
    "ConsumerGroupAlreadyExist": (400, "consumer group already exist"),
    "ConsumerGroupNotExist": (404, "consumer group not exist"),
    "ConsumerGroupQuotaExceed": (403, "the logstore has too many consumer groups"),
    "ConsumerNotExist": (404, "consumer not exist in the consumer group"),
    "IndexAlreadyExist": (400, "log store index is already created"),
    "IndexConfigNotExist": (400, "index config doesn't exist"),
    "IndexInfoInvalid": (400, "required fields line/keys are lacking or of error format"),
    "InternalServerError": (500, "internal server error"),
    "InvalidAPIVersion": (400, "x-log-apiversion is unsupported: expected 0.6.0"),
    "InvalidBodyRawSize": (400, "x-log-bodyrawsize is invalid"),
    "InvalidCompressType": (400, "x-log-compresstype is unsupported: expected lz4, deflate or gzip"),
    "InvalidContentType": (415, "Content-Type is unsupported"),
    "InvalidCursor": (400, "invalid cursor"),
    "InvalidDateFormat": (400, "date must follow RFC822"),
    "InvalidEncoding": (400, "non-UTF8 characters are in logs"),
    "InvalidKey": (400, "invalid keys are in logs"),
    "InvalidLine": (400, "line is invalid"),
    "InvalidMethod": (405, "invalid request method"),
    "InvalidOffset": (400, "offset is invalid"),
    "InvalidParameter": (400, "invalid parameter"),
    "InvalidQueryString": (400, "query string is invalid"),
    "InvalidReverse": (400, "reverse value is invalid"),
    "InvalidShardCheckPoint": (400, "shard checkpoint not encoded by base64"),
    "InvalidSignatureMethod": (400, "signature method is unsupported: expected hmac-sha1"),
    "InvalidTimeRange": (400, "request time range is invalid"),
    "InvalidTimestamp": (400, "invalid timestamps are in logs"),
    "JsonInfoInvalid": (400, "the body is not valid json"),
    "LogStoreAlreadyExist": (400, "logstore already exists"),
    "LogStoreInfoInvalid": (400, "logstore info is invalid"),
    "LogStoreNotExist": (404, "logstore does not exist"),
    "MissAccessKeyId": (400, "x-log-accesskeyid does not exist in header"),
    "MissingAPIVersion": (400, "x-log-apiversion does not exist in http header"),
    "MissingBodyRawSize": (400, "x-log-bodyrawsize does not exist in header when it is necessary"),
    "MissingContentType": (400, "Content-Type does not exist in http header when body is not empty"),
    "MissingDate": (400, "Date does not exist in http header"),
    "MissingHost": (400, "Host does not exist in http header"),
    "MissingSignatureMethod": (400, "x-log-signaturemethod does not exist in http header"),
    "NotSupported": (400, "the operation is not supported"),
    "ParameterInvalid": (400, "parameter is invalid"),
    "PostBodyInvalid": (400, "protobuffer content cannot be parsed"),
    "PostBodyTooLarge": (400, "body is too large"),
    "PostBodyUncompressError": (400, "failed to decompress logs"),
    "ProjectAlreadyExist": (400, "project already exist"),
    "ProjectNotExist": (404, "the project does not exist"),
    "RequestTimeTooSkewed": (400, "request time exceeds server time more than 15 minutes"),
    "RequestTimeout": (408, "the request did not arrive in time"),
    "ServerBusy": (503, "the server is busy, please try again later"),
    "ShardNotExist": (400, "shard does not exist"),
    "SignatureNotMatch": (401, "signature is not matched"),
    "Unauthorized": (401, "The AccessKeyId is unauthorized"),
    "WriteQuotaExceed": (403, "write quota is exceeded: the disk of the Log Service is full; free some space on it"),
}  # fmt: skip


class SlsError(errors.CallerError):
    """An error whose `code` is a key of the catalogue, which has its status."""

    def __init__(self, code: str, message: str = "") -> None:
        status, usual = _CATALOGUE[code]
        super().__init__(message or usual)
        self.code = code
        self.status = status


def parameter_invalid(name: str, allowed: str, found: object, code: str = "ParameterInvalid") -> SlsError:
    return SlsError(code, f"parameter {name} is invalid: expected {allowed}, found '{found}'")


# By kind of resource: the code, and the text; "" means the catalogue's text.
_NOT_FOUND = {
    LOG_PROJECT: ("ProjectNotExist", "The Project does not exist : {}"),
    LOGSTORE: ("LogStoreNotExist", "logstore {} does not exist"),
    LOG_INDEX: ("IndexConfigNotExist", ""),
    LOG_SHARD: ("ShardNotExist", "Shard {} does not exist"),
    CONSUMER_GROUP: ("ConsumerGroupNotExist", ""),
    CONSUMER: ("ConsumerNotExist", ""),
}
_EXISTS = {
    LOG_PROJECT: ("ProjectAlreadyExist", "Project {} already exist"),
    LOGSTORE: ("LogStoreAlreadyExist", "logstore {} already exists"),
    LOG_INDEX: ("IndexAlreadyExist", ""),
    CONSUMER_GROUP: ("ConsumerGroupAlreadyExist", ""),
}
# The API's code for an invalid value, by field.
_INVALID = {"cursor": "InvalidCursor", "pack_id": "InvalidParameter", "pack_meta": "InvalidParameter"}


def as_sls_error(error: errors.CallerError) -> SlsError:
    """Translates an error of a lower package into the API's codes; ParameterInvalid where no other code fits."""
    match error:
        case SlsError():
            return error
        case errors.NotFound() if error.kind in _NOT_FOUND:
            code, text = _NOT_FOUND[error.kind]
            return SlsError(code, text.format(error.name))
        case errors.AlreadyExists() if error.kind in _EXISTS:
            code, text = _EXISTS[error.kind]
            return SlsError(code, text.format(error.name))
        case errors.TooMany(field=field) if field == CONSUMER_GROUP:
            text = f"a logstore has at most {error.most} consumer groups: delete one that is no longer used"
            return SlsError("ConsumerGroupQuotaExceed", text)
        case QueryRefused():
            # The API has no codes for errors in SQL and exceeded limits.
            return SlsError("InvalidQueryString" if error.part == "search" else "ParameterInvalid", error.message)
        case errors.Invalid() if error.field in _INVALID:
            return SlsError(_INVALID[error.field], str(error))
        case _:
            return SlsError("ParameterInvalid", str(error))
