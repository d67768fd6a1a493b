"""What can go wrong, as exceptions with the API's own codes, texts and statuses.

Raised by every room that refuses something; the doors turn them into answers in their own wire form.
A function's own failure is never one of these: that is a value, `model.invocation.Outcome.error`.

    SesameError
    ├── CallerError                     the caller's fault: code, status, message (reference/api.md §1.3)
    │   ├── InvalidArgument             400
    │   ├── VersionPublishError         400
    │   ├── MissingRequiredHeader       400
    │   ├── PathNotSupported            400
    │   ├── EntityTooLarge              400
    │   ├── AccessDenied                403
    │   │   ├── SignatureNotMatch
    │   │   └── InvalidAccessKeyID
    │   ├── NotFound                    404  (ServiceNotFound, FunctionNotFound, VersionNotFound, …)
    │   ├── Conflict                    409  (ServiceAlreadyExists, ServiceNotEmpty, …)
    │   ├── PreconditionFailed          412
    │   ├── FunctionNotStarted          412
    │   └── ResourceExhausted           429
    ├── PlatformError                   our fault: logged with the request id, answered 500 without internals
    └── ConfigurationError              the operator's fault: said once, at start-up, with the next step
"""


class SesameError(Exception):
    """Root of everything this project raises on purpose."""


class CallerError(SesameError):
    """The caller asked for something that cannot be had.

    `code` is the API's ErrorCode, `status` its HTTP status, `str(error)` its ErrorMessage.
    """

    code = "InvalidArgument"
    status = 400

    def __init__(self, message: str, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status


class InvalidArgument(CallerError):
    """A value is malformed or out of range; the message says what was found and what was expected."""

    code = "InvalidArgument"
    status = 400

    @classmethod
    def of(cls, name: str, allowed: str, actual: object) -> "InvalidArgument":
        """The API's own wording: `X is set to an invalid value (allowed: …, actual: '…')`."""
        return cls(f"{name} is set to an invalid value (allowed: {allowed}, actual: '{actual}')")

    @classmethod
    def missing(cls, name: str) -> "InvalidArgument":
        """The API's own wording for a required field that was not sent."""
        return cls(f"{name} is required but not provided")


class VersionPublishError(CallerError):
    """There is nothing new to publish."""

    code = "VersionPublishError"
    status = 400

    def __init__(self, service: str, version: str) -> None:
        super().__init__(f"service '{service}' has not changed since version '{version}': nothing to publish")


class MissingRequiredHeader(CallerError):
    """A header without which the request cannot be understood."""

    code = "MissingRequiredHeader"
    status = 400

    def __init__(self, header: str) -> None:
        super().__init__(f"required HTTP header {header} was not specified")


class PathNotSupported(CallerError):
    """No operation lives at this method and path."""

    code = "PathNotSupported"
    status = 400

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"'{method}' against '{path}' is not supported")


class EntityTooLarge(CallerError):
    """The body exceeds what is accepted."""

    code = "EntityTooLarge"
    status = 400

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"payload size exceeds maximum allowed size ({limit_bytes} bytes)")


class AccessDenied(CallerError):
    """Known caller, but not allowed."""

    code = "AccessDenied"
    status = 403


class SignatureNotMatch(AccessDenied):
    """The signature was not made with the caller's secret over this request."""

    code = "SignatureNotMatch"

    def __init__(self) -> None:
        super().__init__(
            "The request signature we calculated does not match the signature you provided. "
            "Check your access key and signing method"
        )


class InvalidAccessKeyID(AccessDenied):
    """Nobody holds this access key."""

    code = "InvalidAccessKeyID"

    def __init__(self, access_key_id: str) -> None:
        super().__init__(f"invalid access key ID '{access_key_id}'")


class NotFound(CallerError):
    """The named resource does not exist."""

    code = "NotFound"
    status = 404


class ServiceNotFound(NotFound):
    code = "ServiceNotFound"

    def __init__(self, service: str) -> None:
        super().__init__(f"service '{service}' does not exist")


class FunctionNotFound(NotFound):
    code = "FunctionNotFound"

    def __init__(self, service: str, function: str) -> None:
        super().__init__(f"function '{function}' does not exist in service '{service}'")


class VersionNotFound(NotFound):
    code = "VersionNotFound"

    def __init__(self, service: str, version: str) -> None:
        super().__init__(f"version '{version}' of service '{service}' does not exist")


class AliasNotFound(NotFound):
    code = "AliasNotFound"

    def __init__(self, service: str, alias: str) -> None:
        super().__init__(f"alias '{alias}' of service '{service}' does not exist")


class InstanceNotFound(NotFound):
    code = "InstanceNotFound"

    def __init__(self, service: str, function: str, instance: str) -> None:
        super().__init__(f"instance '{instance}' does not exist in service '{service}' and function '{function}'")


class TriggerNotFound(NotFound):
    code = "TriggerNotFound"

    def __init__(self, service: str, function: str, trigger: str) -> None:
        super().__init__(f"trigger '{trigger}' does not exist in service '{service}' and function '{function}'")


class DomainNameNotFound(NotFound):
    code = "DomainNameNotFound"

    def __init__(self, domain: str) -> None:
        super().__init__(f"domain name '{domain}' does not exist")


class LayerNotFound(NotFound):
    code = "LayerNotFound"

    def __init__(self, layer: str) -> None:
        super().__init__(f"layer '{layer}' does not exist")


class LayerVersionNotFound(NotFound):
    code = "LayerVersionNotFound"

    def __init__(self, layer: str, version: int | str) -> None:
        super().__init__(f"version '{version}' of layer '{layer}' does not exist")


class AsyncConfigNotExists(NotFound):
    code = "AsyncConfigNotExists"

    def __init__(self, service: str, qualifier: str, function: str) -> None:
        super().__init__(f"AsyncConfig for {service}.{qualifier}:{function} does not exist.")


class OnDemandConfigNotFound(NotFound):
    code = "OnDemandConfigNotFound"

    def __init__(self, resource: str) -> None:
        super().__init__(f"on-demand config of '{resource}' does not exist")


class VpcBindingNotFound(NotFound):
    code = "VpcBindingNotFound"

    def __init__(self, service: str, vpc_id: str) -> None:
        super().__init__(f"service '{service}' is not bound to vpc '{vpc_id}'")


class Conflict(CallerError):
    """The resource is in the way, or other resources still hang on it."""

    code = "Conflict"
    status = 409


class ServiceAlreadyExists(Conflict):
    code = "ServiceAlreadyExists"

    def __init__(self, service: str) -> None:
        super().__init__(f"service '{service}' already exists")


class ServiceNotEmpty(Conflict):
    code = "ServiceNotEmpty"

    def __init__(self, service: str, what: str) -> None:
        super().__init__(f"service '{service}' has {what}")


class FunctionAlreadyExists(Conflict):
    code = "FunctionAlreadyExists"

    def __init__(self, service: str, function: str) -> None:
        super().__init__(f"function '{function}' already exists in service '{service}'")


class FunctionNotEmpty(Conflict):
    code = "FunctionNotEmpty"

    def __init__(self, function: str) -> None:
        super().__init__(f"function '{function}' has active triggers")


class AliasAlreadyExists(Conflict):
    code = "AliasAlreadyExists"

    def __init__(self, service: str, alias: str) -> None:
        super().__init__(f"alias {alias} of service {service} already exists")


class TriggerAlreadyExists(Conflict):
    code = "TriggerAlreadyExists"

    def __init__(self, service: str, function: str, trigger: str) -> None:
        super().__init__(f"trigger '{trigger}' already exists in service '{service}' and function '{function}'")


class DomainNameAlreadyExists(Conflict):
    code = "DomainNameAlreadyExists"

    def __init__(self, domain: str) -> None:
        super().__init__(f"domain name {domain} already exists")


class PreconditionFailed(CallerError):
    """If-Match named another state than the present one."""

    code = "PreconditionFailed"
    status = 412

    def __init__(self) -> None:
        super().__init__("the resource being modified has been changed")


class FunctionNotStarted(CallerError):
    """No instance can be started: what it needs is missing, or its process ends before it is ready.

    The code is the cloud's (reference/runtime.md §14); the message says what is missing, or when it is tried again.
    """

    code = "FunctionNotStarted"
    status = 412

    def __init__(self, why: str) -> None:
        super().__init__(f"The function cannot be started. {why}")


class ResourceExhausted(CallerError):
    """No instance may be had: a cap on instances or on memory is reached."""

    code = "ResourceExhausted"
    status = 429


class PlatformError(SesameError):
    """Our own failure; never shown to callers beyond the request id."""


class ConfigurationError(SesameError):
    """A setting cannot hold; the message says which, what was found and what to do."""
