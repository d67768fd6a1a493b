"""Errors as kinds with parameters; each endpoint translates them into its own codes, texts and statuses.

Raised by every package below the endpoints. A function's own failure is not an exception but a value,
`model.invocation.Outcome.error`. `str(error)` is for logs and developers.

    SesameError
    ├── CallerError                     the caller's fault
    │   ├── Rejected                    the request cannot be accepted
    │   │   ├── Overlapping             a trigger that shares events with another
    │   │   ├── Missing                 a required field
    │   │   ├── Invalid                 a value that is malformed or out of range
    │   │   ├── Malformed               text that does not match the field's format
    │   │   ├── Duplicate               a name that occurs twice in a list
    │   │   ├── TooMany                 a list with too many items
    │   │   └── Unusable                a well-formed value that cannot be used; the reason says why
    │   ├── NotFound                    a resource that does not exist
    │   ├── AlreadyExists               a name that is taken
    │   ├── NotEmpty                    a resource that still contains others
    │   ├── Unchanged                   a version that would equal the previous one
    │   ├── PreconditionFailed          the resource is not in the state that the caller named
    │   ├── Forbidden                   a caller without the right
    │   ├── Disabled                    a function whose invocation is disabled
    │   ├── Recursive                   a function that led to its own invocation too often
    │   ├── NotStarted                  a function whose instances cannot be started
    │   └── Exhausted                   a cap that is reached
    ├── PlatformError                   our fault: logged with the request id, answered without internals
    │   └── Unavailable                 a temporary lack of something that the request needs: it may be retried
    │       └── StoreUnavailable        an external store that times out or refuses; a retry may succeed
    └── ConfigurationError              the operator's fault: reported once, at start-up, with the next step

A field is the path to a value in the structs of `control.inputs`, such as `log_config.project`. A kind of resource is
one of those in `model.records`, or one of those named here.
"""

import enum

INSTANCE = "instance"
HTTP_TRIGGER = "http_trigger"
OBJECT = "object"
SOURCE_BUCKET = "source_bucket"
UPLOAD = "upload"
ASYNC_INVOCATION = "async_invocation"
DEAD_LETTER = "dead_letter"
RECORDING = "recording"
CONCURRENCY_CONFIG = "concurrency_config"

UTC_TIME = "UTC time"
SCHEDULE = "schedule"


class SesameError(Exception):
    """Root of every exception that this project raises on purpose."""


class CallerError(SesameError):
    """The caller requested something impossible."""


class Rejected(CallerError):
    """The request cannot be accepted as it is."""


class Missing(Rejected):
    """A required field is missing; `needed_by` names the field that requires it, if another one does."""

    def __init__(self, field: str, *, needed_by: str = "") -> None:
        super().__init__(f"{field} is missing" + (f", which {needed_by} needs" if needed_by else ""))
        self.field = field
        self.needed_by = needed_by


class Invalid(Rejected):
    """A value is malformed or out of range. `allowed` states what was expected, `actual` what was found."""

    def __init__(self, field: str, allowed: str, actual: object) -> None:
        super().__init__(f"{field}: expected {allowed}, found '{actual}'")
        self.field = field
        self.allowed = allowed
        self.actual = actual


class Malformed(Rejected):
    """The text does not match the field's format, `UTC_TIME` or `SCHEDULE`."""

    def __init__(self, field: str, form: str, actual: str) -> None:
        super().__init__(f"{field}: '{actual}' is no {form}")
        self.field = field
        self.form = form
        self.actual = actual


class Duplicate(Rejected):
    """Two items of the list `field` are named `value`."""

    def __init__(self, field: str, value: str) -> None:
        super().__init__(f"{field}: '{value}' stands there twice")
        self.field = field
        self.value = value


class TooMany(Rejected):
    """The list `field` has `found` items and may have at most `most`."""

    def __init__(self, field: str, most: int, found: int) -> None:
        super().__init__(f"{field}: expected at most {most} items, found {found}")
        self.field = field
        self.most = most
        self.found = found


class Unusable(Rejected):
    """A value cannot be used. `reason` states what was found, what was expected and what to do.

    With `field`, the reason continues a sentence that the field's name begins: `cannot be read (…): expected …`.
    """

    def __init__(self, reason: str, *, field: str = "") -> None:
        super().__init__(f"{field} {reason}" if field else reason)
        self.reason = reason
        self.field = field


class Overlapping(Rejected):
    """Some events of this bucket would match both the trigger and `other` (`service/function/trigger`)."""

    def __init__(self, trigger: str, other: str, bucket: str) -> None:
        super().__init__(f"trigger {trigger} overlaps {other} on bucket {bucket}")
        self.other = other
        self.bucket = bucket


class NotFound(CallerError):
    """The resource `name` of this kind does not exist. `parent` holds its ancestors' names, outermost first."""

    def __init__(self, kind: str, name: str, parent: tuple[str, ...] = ()) -> None:
        super().__init__(f"{kind} {'/'.join((*parent, name))} does not exist")
        self.kind = kind
        self.name = name
        self.parent = parent


class AlreadyExists(CallerError):
    """A resource of this kind and name already exists. `parent`: see `NotFound`."""

    def __init__(self, kind: str, name: str, parent: tuple[str, ...] = ()) -> None:
        super().__init__(f"{kind} {'/'.join((*parent, name))} exists already")
        self.kind = kind
        self.name = name
        self.parent = parent


class NotEmpty(CallerError):
    """The resource cannot be deleted while it has `held` (a plural: `functions`)."""

    def __init__(self, kind: str, name: str, held: str) -> None:
        super().__init__(f"{kind} {name} has {held}")
        self.kind = kind
        self.name = name
        self.held = held


class Unchanged(CallerError):
    """Nothing has changed since `version` of the owner was published. `kind` is the owner's kind."""

    def __init__(self, kind: str, name: str, version: str) -> None:
        super().__init__(f"{kind} {name} has not changed since version {version}")
        self.kind = kind
        self.name = name
        self.version = version


class PreconditionFailed(CallerError):
    """The state that If-Match names is not the current one."""

    def __init__(self) -> None:
        super().__init__("the resource has another state than the one named")


class Forbidden(CallerError):
    """The caller is known but may not do this."""


class Disabled(CallerError):
    """The invocation of `function` is disabled, for `reason` (may be empty)."""

    def __init__(self, function: str, reason: str) -> None:
        because = f" ({reason})" if reason else ""
        super().__init__(
            f"the invocation of function '{function}' is disabled{because}: enable it by EnableFunctionInvocation"
        )
        self.function = function


class Recursive(CallerError):
    """`function` (`service/function`) occurs `limit` times in one chain of invocations."""

    def __init__(self, function: str, limit: int) -> None:
        super().__init__(
            f"function '{function}' led to its own invocation {limit} times, as often as this server's recursion limit "
            "allows: have the chain of invocations end, or raise --recursion-limit"
        )
        self.function = function
        self.limit = limit


class StartProblem(enum.StrEnum):
    """Why a function's own program did not start."""

    MISSING = "missing"
    PERMISSION = "permission"
    EXITED = "exited"
    UNHEALTHY = "unhealthy"


class NotStarted(CallerError):
    """No instance of the function can be started; the message names what is missing, or when the next attempt is made.

    `problem` is set for functions that bring their own program.
    """

    def __init__(self, message: str, problem: StartProblem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


class Exhausted(CallerError):
    """A cap is reached; the message names it."""


class PlatformError(SesameError):
    """Our own failure; callers see only the request id."""


class Unavailable(PlatformError):
    """Something that the request needs is temporarily unavailable: the same request may succeed soon."""


class StoreUnavailable(Unavailable):
    """An external store timed out or refused; the same request may succeed later."""


class ConfigurationError(SesameError):
    """A setting is not valid; the message names it, what was found and what to do."""
