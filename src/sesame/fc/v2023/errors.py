"""The error wording of API 2023-03-30: functions without services, and bodies with Code, Message and RequestId.

Called by `fc.errors` for every refusal raised below the endpoints (reference/api.md §1.3, §5). Wording shared by all
versions is in `fc.wording`.
"""

import msgspec

from sesame.fc import wording
from sesame.fc.errors import ErrorForm
from sesame.fc.refusals import ApiError, Failure
from sesame.model import errors, records
from sesame.model.owner import spoken_function, spoken_owner, stands_alone

# `{0}` is the resource's own name, `{1}` its function's.
_NOT_FOUND = {
    **wording.OF_FUNCTIONS,
    records.ASYNC_CONFIG: ("AsyncConfigNotExists", "AsyncConfig for {1}:{0} does not exist."),
    errors.ASYNC_INVOCATION: ("AsyncTaskNotFound", "async task '{0}' of function '{1}' does not exist"),
    errors.CONCURRENCY_CONFIG: ("OnDemandConfigNotFound", "function '{1}' has no concurrency config"),
    records.PROVISION_CONFIG: (
        "ProvisionConfigNotFound",
        "provision config of function '{1}' does not exist under '{0}'",
    ),
    records.SCALING_CONFIG: ("ScalingConfigNotFound", "scaling config of function '{1}' does not exist under '{0}'"),
    records.SESSION: ("SessionNotFound", "session '{0}' of function '{1}' does not exist"),
    records.SESSION_SNAPSHOT: ("SnapshotNotFound", "snapshot '{0}' of function '{1}' does not exist"),
    records.VPC_BINDING: ("VpcBindingNotFound", "function '{1}' is not bound to vpc '{0}'"),
}
_ALREADY_EXISTS = {
    records.ALIAS: ("AliasAlreadyExists", "alias '{0}' of function '{1}' already exists"),
    records.TRIGGER: ("TriggerAlreadyExists", "trigger '{0}' already exists in function '{1}'"),
    errors.HTTP_TRIGGER: (
        "TriggerAlreadyExists",
        "function '{1}' has the HTTP trigger '{0}' already: expected at most one for each version or alias",
    ),
    errors.ASYNC_INVOCATION: (
        "AsyncTaskAlreadyExists",
        "async task '{0}' of function '{1}' already exists, with another event: choose another id",
    ),
    records.SESSION: ("SessionAlreadyExists", "session '{0}' of function '{1}' already exists"),
}
# Fields that have another name in this version.
_RENAMED = {
    "stateful_async_invocation_id": "async_task_id",
    "route_config.routes.service_name": "route_config.routes.function_name",
}


class Body(msgspec.Struct, frozen=True, rename="pascal"):
    """The body of every error answer."""

    request_id: str
    code: str
    message: str


def worded(error: errors.CallerError) -> ApiError:
    """Words a refusal for this API; an `ApiError` is returned unchanged."""
    match error:
        case ApiError():
            return error
        case errors.NotFound(kind=records.SERVICE) if stands_alone(error.name):
            return _no_function(error.name, spoken_owner(error.name))
        case errors.NotFound(kind=records.FUNCTION):
            return _no_function(error.parent[0], error.name)
        case errors.NotFound() if error.kind in _NOT_FOUND:
            return _of(404, _NOT_FOUND[error.kind], error)
        case errors.AlreadyExists(kind=records.FUNCTION):
            name = spoken_function(error.parent[0], error.name)
            return ApiError(409, "FunctionAlreadyExists", f"function '{name}' already exists")
        case errors.AlreadyExists() if error.kind in _ALREADY_EXISTS:
            return _of(409, _ALREADY_EXISTS[error.kind], error)
        case errors.NotEmpty() if stands_alone(error.name):
            text = f"function '{spoken_owner(error.name)}' has {error.held}: delete them first"
            return ApiError(409, "FunctionNotEmpty", text)
        case errors.Invalid() if error.field in _RENAMED:
            return wording.worded(errors.Invalid(_RENAMED[error.field], error.allowed, error.actual))
        case errors.Unchanged():
            name = spoken_owner(error.name)
            text = f"function '{name}' has not changed since version '{error.version}': nothing to publish"
            return ApiError(400, "VersionPublishError", text)
        case _:
            return wording.worded(error)


def _no_function(owner: str, function: str) -> ApiError:
    return ApiError(404, "FunctionNotFound", f"function '{spoken_function(owner, function)}' does not exist.")


def _of(status: int, row: tuple[str, str], error: errors.NotFound | errors.AlreadyExists) -> ApiError:
    owner, *rest = error.parent or ("",)
    # The parent of a version or an alias is its owner alone. Otherwise the function is the last parent, except for an
    # HTTP trigger, where a qualifier follows it.
    at = 0 if error.kind == errors.HTTP_TRIGGER else -1
    function = spoken_function(owner, rest[at]) if rest else spoken_owner(owner)
    return ApiError(status, row[0], row[1].format(error.name, function))


def _document(failure: Failure, request_id: str) -> Body:
    return Body(request_id, failure.error_code, failure.error_message)


FORM = ErrorForm(worded=worded, shape=Body, document=_document, acs=True)
