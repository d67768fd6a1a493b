"""Words refusals like the API: with its codes, texts and statuses (reference/api.md §1.3).

Called by `fc.errors` for every refusal raised below the endpoints. The tables are those of the versions with services;
2023-03-30 uses them, too, except for what `fc.v2023.errors` lists.
"""

import re
from collections.abc import Mapping

from sesame.fc.refusals import ApiError, InvalidArgument
from sesame.model import errors, records
from sesame.model.owner import spoken_owner, stands_alone
from sesame.model.recursion import LIMIT_EXCEEDED

Row = tuple[str, str]
"""A code and a text."""

# Placeholders in the texts: {0} is the resource's name, the others are its parents', outermost first.
NOT_FOUND: Mapping[str, Row] = {
    records.SERVICE: ("ServiceNotFound", "service '{0}' does not exist"),
    records.FUNCTION: ("FunctionNotFound", "function '{0}' does not exist in service '{1}'"),
    records.VERSION: ("VersionNotFound", "version '{0}' of service '{1}' does not exist"),
    records.ALIAS: ("AliasNotFound", "alias '{0}' of service '{1}' does not exist"),
    errors.INSTANCE: ("InstanceNotFound", "instance '{0}' does not exist in service '{1}' and function '{2}'"),
    records.TRIGGER: ("TriggerNotFound", "trigger '{0}' does not exist in service '{1}' and function '{2}'"),
    errors.HTTP_TRIGGER: (
        "TriggerNotFound",
        "function '{2}' in service '{1}' has no HTTP trigger for qualifier '{0}': create one of type http, or invoke "
        "the function",
    ),
    records.CUSTOM_DOMAIN: ("DomainNameNotFound", "domain name '{0}' does not exist"),
    records.LAYER: ("LayerNotFound", "layer '{0}' does not exist"),
    records.LAYER_VERSION: ("LayerVersionNotFound", "version '{0}' of layer '{1}' does not exist"),
    records.ASYNC_CONFIG: ("AsyncConfigNotExists", "AsyncConfig for {1}.{0}:{2} does not exist."),
    errors.ASYNC_INVOCATION: (
        "StatefulAsyncInvocationNotFound",
        "stateful async invocation '{0}' of function '{3}' in service '{1}' does not exist under qualifier '{2}'",
    ),
    errors.DEAD_LETTER: ("DeadLetterNotFound", "dead letter '{0}' does not exist, or was replayed"),
    errors.RECORDING: (
        "RecordingNotFound",
        "no call with the request id '{0}' is recorded: `sesame record list` names those that are, and `sesame record "
        "set` says what is recorded",
    ),
    records.ON_DEMAND_CONFIG: ("OnDemandConfigNotFound", "on-demand config of '{0}' does not exist"),
    records.VPC_BINDING: ("VpcBindingNotFound", "service '{1}' is not bound to vpc '{0}'"),
    records.EVENT_SOURCE: (
        "EventSourceNotFound",
        "event source '{0}' of function '{2}' in service '{1}' does not exist",
    ),
    # Not resources of this API, but operations refer to them.
    records.ROLE: ("RoleNotFound", "role '{0}' does not exist"),
    records.BUCKET: ("BucketNotFound", "OSS bucket '{0}' does not exist"),
    errors.SOURCE_BUCKET: (
        "OSSNoSuchBucket",
        "event source 'oss' returned error: The specified bucket does not exist. Bucket '{0}' was not found, or is "
        "another account's: create it first",
    ),
    errors.OBJECT: ("ObjectNotFound", "OSS object '{0}' does not exist in bucket '{1}'"),
    errors.UPLOAD: ("UploadNotFound", "upload '{0}' to bucket '{1}' does not exist"),
}
# Likewise for resources of a function without a service, which is {1}.
OF_FUNCTIONS: Mapping[str, Row] = {
    records.FUNCTION: ("FunctionNotFound", "function '{0}' does not exist"),
    errors.ASYNC_INVOCATION: (
        "StatefulAsyncInvocationNotFound",
        "stateful async invocation '{0}' of function '{1}' does not exist",
    ),
    records.VERSION: ("VersionNotFound", "version '{0}' of function '{1}' does not exist"),
    records.ALIAS: ("AliasNotFound", "alias '{0}' of function '{1}' does not exist"),
    errors.INSTANCE: ("InstanceNotFound", "instance '{0}' does not exist in function '{1}'"),
    records.TRIGGER: ("TriggerNotFound", "trigger '{0}' does not exist in function '{1}'"),
    errors.HTTP_TRIGGER: ("TriggerNotFound", "function '{1}' has no HTTP trigger for qualifier '{0}': create one"),
}
ALREADY_EXISTS: Mapping[str, Row] = {
    records.SERVICE: ("ServiceAlreadyExists", "service '{0}' already exists"),
    records.FUNCTION: ("FunctionAlreadyExists", "function '{0}' already exists in service '{1}'"),
    records.ALIAS: ("AliasAlreadyExists", "alias {0} of service {1} already exists"),
    records.TRIGGER: ("TriggerAlreadyExists", "trigger '{0}' already exists in service '{1}' and function '{2}'"),
    errors.HTTP_TRIGGER: (
        "TriggerAlreadyExists",
        "function '{2}' has the HTTP trigger '{0}' under qualifier '{3}' already: expected at most one for each "
        "version or alias",
    ),
    errors.ASYNC_INVOCATION: (
        "StatefulAsyncInvocationAlreadyExists",
        "stateful async invocation '{0}' of function '{3}' in service '{1}' already exists under qualifier '{2}', with "
        "another event: choose another id",
    ),
    records.CUSTOM_DOMAIN: ("DomainNameAlreadyExists", "domain name {0} already exists"),
    records.ROLE: ("RoleAlreadyExists", "role '{0}' already exists"),
    records.BUCKET: ("BucketAlreadyExists", "OSS bucket '{0}' already exists"),
    errors.OBJECT: ("ObjectAlreadyExists", "OSS object '{0}' already exists in bucket '{1}'"),
}
NOT_EMPTY: Mapping[str, Row] = {
    records.SERVICE: ("ServiceNotEmpty", "service '{0}' has {1}"),
    records.FUNCTION: ("FunctionNotEmpty", "function '{0}' has active {1}"),
    records.BUCKET: ("BucketNotEmpty", "OSS bucket '{0}' has {1}"),
}
_NOT_STARTED = {
    errors.StartProblem.EXITED: ("CAExited", "The function either cannot be started or exited. {0}"),
    errors.StartProblem.MISSING: ("CAFileNotFound", "The function cannot be started. {0}"),
    errors.StartProblem.PERMISSION: ("CAFilePermission", "The function cannot be started. {0}"),
    errors.StartProblem.UNHEALTHY: ("FunctionNotStarted", "The function cannot be started. {0}"),
}
# Fields whose spelling in this API is not plain `PascalCase`.
_SPELLED = {
    "tls_config": "TLSConfig",
    "ca_port": "CAPort",
    "cpu": "CPU",
    "custom_dns": "CustomDNS",
    "code.zip_file": "code.zipFile",
    "idle_timeout_s": "SessionIdleTimeoutInSeconds",
    "ttl_s": "SessionTTLInSeconds",
}
# The cloud passes on OSS's answer; clients look for its first sentence.
_OVERLAPPING = (
    "event source 'oss' returned error: Cannot specify overlapping prefix and suffix with same event type. Trigger "
    "'{1}' on bucket '{0}' has events, prefix and suffix in common with this one: change one of them"
)
# A key in brackets, or the name of a field.
_FIELD = re.compile(r"(\[[^\]]*\])|[^.\[\]]+")
_CODE = "code"
_NO_CODE = "Either ossBucketName/ossObjectName or zipFile must be set"
_MALFORMED = {
    errors.UTC_TIME: "The {0} is not in UTC time format (example: '2020-10-10T10:10:10Z', actual: '{1}')",
    errors.SCHEDULE: (
        "The {0} should be atTime or cron expression (example: ['at(2020-10-10T10:10:10Z)', "
        "'cron(0 */30 * * * *)'], actual: '{1}')"
    ),
}


def worded(error: errors.CallerError) -> ApiError:
    """Words a refusal for the versions with services; an `ApiError` is returned unchanged."""
    match error:
        case ApiError():
            return error
        case errors.Exhausted():
            # Checked early, because it comes in floods.
            return ApiError(429, "ResourceExhausted", str(error))
        case errors.NotFound(kind=records.SERVICE) if stands_alone(error.name):
            # Only Sesame's own operations, and domains, can refer to a function without a service here.
            return ApiError(404, "FunctionNotFound", f"function '{spoken_owner(error.name)}' does not exist")
        case errors.NotFound(parent=(owner, *_)) if stands_alone(owner) and error.kind in OF_FUNCTIONS:
            return _of(404, OF_FUNCTIONS[error.kind], error.name, spoken_owner(owner))
        case errors.NotFound():
            return _of(404, NOT_FOUND[error.kind], error.name, *error.parent)
        case errors.AlreadyExists():
            return _of(409, ALREADY_EXISTS[error.kind], error.name, *error.parent)
        case errors.NotEmpty():
            return _of(409, NOT_EMPTY[error.kind], error.name, error.held)
        case errors.Unchanged():
            since = f"has not changed since version '{error.version}'"
            text = f"{error.kind} '{error.name}' {since}: nothing to publish"
            return ApiError(400, "VersionPublishError", text)
        case errors.PreconditionFailed():
            return ApiError(412, "PreconditionFailed", "the resource being modified has been changed")
        case errors.Forbidden():
            return ApiError(403, "AccessDenied", str(error))
        case errors.Disabled():
            return ApiError(403, "FunctionInvocationDisabled", str(error))
        case errors.Overlapping():
            return ApiError(400, "OSSInvalidRequest", _OVERLAPPING.format(error.bucket, error.other))
        case errors.Recursive():
            return ApiError(400, LIMIT_EXCEEDED, str(error))
        case errors.NotStarted(problem=errors.StartProblem() as problem):
            code, text = _NOT_STARTED[problem]
            return ApiError(412, code, text.format(error))
        case errors.NotStarted():
            return ApiError(412, "FunctionNotStarted", f"The function cannot be started. {error}")
        case _:
            return InvalidArgument(_rejection(error))


def _of(status: int, row: Row, *names: str) -> ApiError:
    return ApiError(status, row[0], row[1].format(*names))


def _rejection(error: errors.CallerError) -> str:
    match error:
        case errors.Missing() if error.needed_by:
            return f"{error.field.replace('_', ' ').capitalize()} is required if {error.needed_by} is provided"
        case errors.Missing() if error.field == _CODE:
            return _NO_CODE
        case errors.Missing():
            return f"{spelled(error.field)} is required but not provided"
        case errors.Invalid():
            allowed, actual = error.allowed, error.actual
            return f"{spelled(error.field)} is set to an invalid value (allowed: {allowed}, actual: '{actual}')"
        case errors.Malformed():
            return _MALFORMED[error.form].format(spelled(error.field.rpartition(".")[2]), error.actual)
        case errors.Duplicate():
            return f"Duplicate action name '{error.value}' in {spelled(error.field)} is not allowed"
        case errors.TooMany():
            return f"{spelled(error.field)} contains too many values (max: {error.most}, actual: {error.found})"
        case errors.Unusable() if error.field:
            return f"{spelled(error.field)} {error.reason}"
        case _:
            return str(error)


def spelled(field: str) -> str:
    """`log_config.project` → `LogConfig.Project`, `nasConfig.userId` → `NasConfig.UserId`.

    What stands in brackets, such as the key of a map, stays as it is; no field is the whole body.
    """
    if field in _SPELLED:
        return _SPELLED[field]
    return _FIELD.sub(lambda found: found[1] or _pascal(found[0]), field) if field else "the request body"


def _pascal(part: str) -> str:
    return _SPELLED.get(part) or "".join(word[:1].upper() + word[1:] for word in part.split("_"))
