"""What can go wrong, as kinds with parameters; each endpoint words them in its own codes, texts and statuses.

Raised by every package below the endpoints. A function's own failure is none of these: it is a value,
`model.invocation.Outcome.error`. `str(error)` is for logs and for those who read the code.

    SesameError
    ├── CallerError                     the caller's fault
    │   ├── Rejected                    what was sent cannot be accepted
    │   │   ├── Overlapping             a trigger that has events in common with another
    │   │   ├── Missing                 a field that is needed
    │   │   ├── Invalid                 a value that is malformed or out of range
    │   │   ├── Malformed               text that is not in the form which its field has
    │   │   ├── Duplicate               a name that stands twice in a list
    │   │   ├── TooMany                 more items in a list than are accepted
    │   │   └── Unusable                a value that is well-formed and still cannot be used; the reason says why
    │   ├── NotFound                    a resource that does not exist
    │   ├── AlreadyExists               a name that is taken
    │   ├── NotEmpty                    a resource that others still hang on
    │   ├── Unchanged                   a version that would equal the one before
    │   ├── PreconditionFailed          the resource is not in the state that the caller named
    │   ├── Forbidden                   a caller without the right
    │   ├── Disabled                    a function of which invocation is disabled
    │   ├── Recursive                   a function that led to itself too often
    │   ├── NotStarted                  a function of which no instance can be started
    │   └── Exhausted                   a cap that is reached
    ├── PlatformError                   our fault: logged with the request id, answered without internals
    │   └── Unavailable                 what the request needs is away for a moment: it may be sent again
    │       └── StoreUnavailable        a store elsewhere that does not answer, or refuses; it may later
    └── ConfigurationError              the operator's fault: said once, at start-up, with the next step

A field is the path to a value in the structs of `control.inputs`, such as `log_config.project`. A kind of resource is
one of `model.records`, or one of those named here.
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
    """Root of everything this project raises on purpose."""


class CallerError(SesameError):
    """The caller asked for something that it cannot have."""


class Rejected(CallerError):
    """What was sent cannot be accepted as it is."""


class Missing(Rejected):
    """A field that is needed was not sent; with `needed_by`, it is needed because that field was."""

    def __init__(self, field: str, *, needed_by: str = "") -> None:
        super().__init__(f"{field} is missing" + (f", which {needed_by} needs" if needed_by else ""))
        self.field = field
        self.needed_by = needed_by


class Invalid(Rejected):
    """A value is malformed or out of range. `allowed` and `actual` say what was expected and what was found."""

    def __init__(self, field: str, allowed: str, actual: object) -> None:
        super().__init__(f"{field}: expected {allowed}, found '{actual}'")
        self.field = field
        self.allowed = allowed
        self.actual = actual


class Malformed(Rejected):
    """The text is not in the form that the field has: `UTC_TIME` or `SCHEDULE`."""

    def __init__(self, field: str, form: str, actual: str) -> None:
        super().__init__(f"{field}: '{actual}' is no {form}")
        self.field = field
        self.form = form
        self.actual = actual


class Duplicate(Rejected):
    """Two items of the list `field` have the name `value`."""

    def __init__(self, field: str, value: str) -> None:
        super().__init__(f"{field}: '{value}' stands there twice")
        self.field = field
        self.value = value


class TooMany(Rejected):
    """The list `field` has `found` items, and may have `most`."""

    def __init__(self, field: str, most: int, found: int) -> None:
        super().__init__(f"{field}: expected at most {most} items, found {found}")
        self.field = field
        self.most = most
        self.found = found


class Unusable(Rejected):
    """A value cannot be used. `reason` says what was found, what was expected and what to do.

    With `field` the reason goes on from the field's name: `cannot be read (…): expected …`.
    """

    def __init__(self, reason: str, *, field: str = "") -> None:
        super().__init__(f"{field} {reason}" if field else reason)
        self.reason = reason
        self.field = field


class Overlapping(Rejected):
    """Some events of this bucket would belong to the trigger and to `other` (`service/function/trigger`)."""

    def __init__(self, trigger: str, other: str, bucket: str) -> None:
        super().__init__(f"trigger {trigger} overlaps {other} on bucket {bucket}")
        self.other = other
        self.bucket = bucket


class NotFound(CallerError):
    """The resource `name` of this kind does not exist. `parent` names what it would belong to, outermost first."""

    def __init__(self, kind: str, name: str, parent: tuple[str, ...] = ()) -> None:
        super().__init__(f"{kind} {'/'.join((*parent, name))} does not exist")
        self.kind = kind
        self.name = name
        self.parent = parent


class AlreadyExists(CallerError):
    """There is a resource of this kind and name already. `parent` as of `NotFound`."""

    def __init__(self, kind: str, name: str, parent: tuple[str, ...] = ()) -> None:
        super().__init__(f"{kind} {'/'.join((*parent, name))} exists already")
        self.kind = kind
        self.name = name
        self.parent = parent


class NotEmpty(CallerError):
    """The resource cannot go while it has `held` (a plural: `functions`)."""

    def __init__(self, kind: str, name: str, held: str) -> None:
        super().__init__(f"{kind} {name} has {held}")
        self.kind = kind
        self.name = name
        self.held = held


class Unchanged(CallerError):
    """Nothing changed since `version` of the owner was published. `kind` is the owner's."""

    def __init__(self, kind: str, name: str, version: str) -> None:
        super().__init__(f"{kind} {name} has not changed since version {version}")
        self.kind = kind
        self.name = name
        self.version = version


class PreconditionFailed(CallerError):
    """If-Match named another state than the present one."""

    def __init__(self) -> None:
        super().__init__("the resource has another state than the one named")


class Forbidden(CallerError):
    """The caller is known, and may not do this."""


class Disabled(CallerError):
    """The invocation of `function` is disabled, for `reason` (which may be empty)."""

    def __init__(self, function: str, reason: str) -> None:
        because = f" ({reason})" if reason else ""
        super().__init__(
            f"the invocation of function '{function}' is disabled{because}: enable it by EnableFunctionInvocation"
        )
        self.function = function


class Recursive(CallerError):
    """`function` (as `service/function`) led to itself `limit` times in one chain of invocations."""

    def __init__(self, function: str, limit: int) -> None:
        super().__init__(
            f"function '{function}' led to its own invocation {limit} times, as often as this server's recursion limit "
            "allows: have the chain of invocations end, or raise --recursion-limit"
        )
        self.function = function
        self.limit = limit


class StartProblem(enum.StrEnum):
    """What kept a function's own program from coming up."""

    MISSING = "missing"
    PERMISSION = "permission"
    EXITED = "exited"
    UNHEALTHY = "unhealthy"


class NotStarted(CallerError):
    """No instance of the function can be started; the message says what is missing, or when it is tried again.

    `problem` is there for functions that bring a program of their own.
    """

    def __init__(self, message: str, problem: StartProblem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


class Exhausted(CallerError):
    """A cap is reached; the message says which."""


class PlatformError(SesameError):
    """Our own failure; callers are shown nothing of it but the request id."""


class Unavailable(PlatformError):
    """Something that the request needs is away for a moment: the same request may succeed soon."""


class StoreUnavailable(Unavailable):
    """A store elsewhere does not answer in time, or refuses: the same request may succeed later."""


class ConfigurationError(SesameError):
    """A setting cannot hold; the message says which, what was found and what to do."""
