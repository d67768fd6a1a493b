"""The interface between the engine and the drivers that isolate a function's process.

`engine` calls a `SandboxLauncher` and the `Sandbox` it returns; the drivers in `process` and `jail`, and the tests'
fake, implement it. Nothing here depends on HTTP, services or the catalog. Each docstring states what holds after the
call.
"""

import enum
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from sesame.model.bucket_mount import BucketMount
from sesame.model.command import Command, Execution
from sesame.model.container import ContainerImage
from sesame.model.errors import SesameError, StartProblem
from sesame.model.invocation import Credentials
from sesame.model.nas import NasMount
from sesame.model.stream import Stream
from sesame.model.usage import Usage
from sesame.model.web_server import WebServer
from sesame.sandbox.volumes import Volume


class ImageRoot(msgspec.Struct, frozen=True, kw_only=True):
    """The unpacked, immutable root of a container image. `name` appears in messages.

    Files of `user_id` and `group_id` belong to the instance's user, if the driver supports that.
    """

    name: str
    root: Path
    user_id: int
    group_id: int
    home: str
    working_dir: str


class InstanceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine asks a launcher for. Constant for the life of the instance.

    `code` and `layers` are SHA-256 hashes of code packages; `sandbox.launch` maps them and `nas` to directories.
    `environment` is complete except for what a driver adds, such as the interpreter's PATH.
    `setup` is the static part of the function's context, sent to the shim once (docs/wire-protocol.md).
    With a `web_server` the function is a server, and calls are requests to it, possibly several at a time.
    With an `image`, files and program come from the image, and `code` may be "".
    With `buckets`, `keys` are the role's keys, used to access them until a call brings newer ones.
    """

    instance_id: str
    runtime: str
    code: str
    layers: tuple[str, ...]
    environment: Mapping[str, str]
    memory_mb: int
    disk_mb: int
    setup: Mapping[str, Any]
    nas: tuple[NasMount, ...] = ()
    buckets: tuple[BucketMount, ...] = ()
    keys: Credentials = Credentials()
    web_server: WebServer | None = None
    image: ContainerImage | None = None
    cpu: float | None = None
    internet: bool = True


class SandboxSpec(msgspec.Struct, frozen=True):
    """What a driver starts: an `InstanceSpec` with this machine's directories instead of hashes.

    `compiled` are archives of compiled sources, for the code and then the layers; files may be missing. `cpu_shares`
    weigh processor time against other instances; by default they follow from `cpu`, in processors, or `memory_mb` where
    that is None. Drivers without cgroups ignore both.
    With an `image`, its root is the instance's root, over which the instance may write up to `disk_mb`, and `code_dir`
    may be None.
    """

    instance_id: str
    runtime: str
    code_dir: Path | None
    layer_dirs: tuple[Path, ...]
    environment: Mapping[str, str]
    memory_mb: int
    disk_mb: int
    setup: Mapping[str, Any]
    compiled: tuple[Path, ...] = ()
    cpu_shares: int | None = None
    volumes: tuple[Volume, ...] = ()
    buckets: tuple[BucketMount, ...] = ()
    keys: Credentials = Credentials()
    web_server: WebServer | None = None
    image: ImageRoot | None = None
    cpu: float | None = None
    internet: bool = True


class Call(msgspec.Struct, frozen=True):
    """One request to the shim. `kind` is invoke, load, initialize, pre_freeze or pre_stop; `meta` becomes JSON.

    Web servers also accept health_check while other calls run; the reply's `ok` is the server's health.

    With a `stream`, accepted only by web servers, both bodies pass through it, and the reply's payload is empty.

    `keys` are those with which mounted buckets are read and written from now on, whatever `meta` tells the function.
    """

    kind: str
    request_id: str
    meta: Mapping[str, Any]
    payload: bytes = b""
    stream: Stream | None = None
    keys: Credentials | None = None


class Reply(msgspec.Struct, frozen=True):
    """The shim's answer. If `ok` is false, `payload` is the JSON error body; `http` is the response of a WSGI handler.

    `trace` is the traceback of a failure as the function's Python prints it, for people; "" if there is none.
    `handled`: the function passed its error to a callback instead of throwing it (reference/runtime.md §6.4).
    """

    ok: bool
    payload: bytes
    http: dict[str, Any] | None = None
    trace: str = ""
    handled: bool = False


# The reply to a health_check without an answer: the server may be busy, or may hang.
NO_ANSWER_IN_TIME = Reply(False, b"no answer in time")


class Death(enum.StrEnum):
    """What ended a sandbox."""

    EXIT = "exit"
    """The process ended by itself; the detail is, for example, `exit status 3` or `killed by SIGSEGV`."""
    OUT_OF_MEMORY = "out_of_memory"
    DISK = "disk"
    PROTOCOL = "protocol"
    """The process violated the wire protocol."""
    RAN_ON = "ran_on"
    """The process kept running between two calls although it was stopped repeatedly; see the detail."""
    KILLED = "killed"
    """The host ended it; the detail is the reason passed to `kill`."""


class KillReason(enum.StrEnum):
    """Why the engine ends a sandbox."""

    TIMEOUT = "its call took too long"
    FAILED = "a call on it failed"
    CANCELED = "its caller left"
    EVICTED = "its memory was needed"
    EXPIRED = "it was idle for the keep-alive time"
    OUTDATED = "its function was changed or deleted"
    ABORTED = "its function was disabled"
    UNWANTED = "fewer provisioned instances are wanted"
    DIED = "its process had ended"
    DONE = "its work is done"
    STOPPING = "the server stops"


class SandboxDied(SesameError):
    """The process ended before it answered, or had already ended before the request."""

    def __init__(self, reason: Death | str, detail: str = "") -> None:
        super().__init__(detail or str(reason))
        self.reason = Death(reason)


class StartFailure(enum.StrEnum):
    """Whether retrying a failed start can help."""

    REFUSED = "refused"
    """Not until the function's configuration or this machine changes; the message tells the caller what to do."""
    CRASHED = "crashed"
    """The process ended by itself, or was not ready in time, and would probably fail again."""
    LOST = "lost"
    """A code package of the function is missing from this machine; the message says what to do."""
    PROGRAM = "program"
    """The function's own program is missing, has ended or does not listen; the message is meant for the caller."""
    TRANSIENT = "transient"
    """The host failed momentarily; another attempt may succeed at once."""


class SandboxStartFailed(SesameError):
    """No instance came up, and nothing is left of it.

    The message is for the operator's log. `cause` may be shown to callers: it contains no path and no output. For
    REFUSED and PROGRAM the message itself is the cause; PROGRAM also has a `problem`.
    """

    problem: StartProblem | None = None

    def __init__(self, message: str, kind: StartFailure = StartFailure.TRANSIENT, cause: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.cause = message if kind in (StartFailure.REFUSED, StartFailure.PROGRAM) else cause

    @classmethod
    def of(cls, error: Exception, *, interpreter: Path, exit: str, output: str) -> "SandboxStartFailed":
        """Classifies the error of a driver's start. By then nothing of the process must be left.

        `exit` describes how the process ended by itself, "" if the host ended it; `output` is what it wrote.
        """
        if isinstance(error, ProgramFailed):
            return error.with_log(output)
        if isinstance(error, SandboxStartFailed):
            kind, cause = error.kind, error.cause
            if kind is StartFailure.REFUSED:
                return error
        elif isinstance(error, TimeoutError):
            kind, cause = StartFailure.CRASHED, "it was not ready in time"
        elif exit:
            # The exit counts, however the host noticed it: at the end of the stream, or by a missing entry in /proc.
            kind, cause = StartFailure.CRASHED, exit
        elif isinstance(error, SandboxDied) and error.reason is not Death.EXIT:
            kind, cause = StartFailure.CRASHED, error.reason.value
        else:
            kind, cause = StartFailure.TRANSIENT, ""
        detail = " ".join(part for part in (str(error) or cause, f"({exit})" if exit else "", output) if part)
        return cls(f"{interpreter}: {detail}", kind, cause)


class ProgramFailed(SandboxStartFailed):
    """The function's own program did not come up."""

    def __init__(self, problem: StartProblem, message: str) -> None:
        super().__init__(message, StartFailure.PROGRAM)
        self.problem = problem

    def with_log(self, output: str) -> "ProgramFailed":
        """Appends the program's output, as the cloud shows it (reference/runtime.md §14)."""
        assert self.problem is not None
        return ProgramFailed(self.problem, f"{self}\nLogs:\n{output}" if output else str(self))


class Sandbox(Protocol):
    """One running instance, ready for its first call. Takes one call at a time unless it is a web server."""

    @property
    def instance_id(self) -> str: ...

    @property
    def phases(self) -> Mapping[str, float]:
        """Milliseconds of each phase of the start, in chronological order."""

    @property
    def death(self) -> SandboxDied | None:
        """What ended the sandbox; None while it lives. Final once `kill` has returned."""

    async def call(self, call: Call) -> Reply:
        """Sends one request and waits for its reply.

        On return everything the function wrote before it answered has been passed to `on_output`.
        Raises `SandboxDied` if the process ends, violates the protocol or is killed meanwhile; by then its output has
        been passed on too, and no process of the instance is left.
        Cancelling a call leaves the sandbox unusable: the caller must kill it.
        """

    async def kill(self, reason: KillReason) -> None:
        """On return every process of the instance has ended and its host resources are freed. Idempotent.

        For a TIMEOUT the shim first gets a short grace period to log the stacks of its threads (runtime.md §6.3).
        """

    async def exec(self, command: Command) -> Execution:
        """Starts a command beside the function, which may be busy.

        The instance must be thawed; the caller closes the result.

        A command that cannot be found or run ends with 127 or 126 and explains why on stderr.
        Raises `SandboxStartFailed` if nothing was started, `SandboxDied` if the instance has ended.
        """

    def memory_peak_mb(self) -> float:
        """The instance's highest memory use so far, as counted by the kernel."""

    async def usage(self) -> Usage | None:
        """What the instance uses now; None if it has ended."""

    def freeze(self) -> None:
        """Stops the instance's processes until `thaw`; no effect if the driver cannot freeze."""

    def thaw(self) -> None:
        """Lets the instance's processes run again; no effect if it is not frozen."""

    def on_end(self, callback: Callable[[], object]) -> None:
        """Calls back once nothing of the instance is left; immediately if that is already so."""


class Enforcement(msgspec.Struct, frozen=True):
    """One limit or wall: whether it is enforced on this machine, and by what."""

    what: str
    enforced: bool
    by: str


OnOutput = Callable[[bytes], None]
OnDeath = Callable[[], None]


class SandboxLauncher(Protocol):
    """Starts instances for the engine."""

    async def create(self, spec: InstanceSpec, on_output: OnOutput, on_death: OnDeath) -> Sandbox:
        """Starts one instance; on return its shim is ready for the first call.

        `on_output` receives stdout and stderr as they arrive; `on_death` is called once if the process ends between
        calls. Raises `SandboxStartFailed`. After a failure or a cancellation nothing is left.
        """


class SandboxDriver(Protocol):
    """One way to isolate instances on this machine."""

    @property
    def name(self) -> str: ...

    @property
    def network(self) -> str:
        """The network of instances: host (shared), egress or none (one per instance). Known after `open`."""

    @property
    def no_network(self) -> str:
        """Why instances share the host's network although that was not requested; "" otherwise."""

    @property
    def leads_out(self) -> frozenset[int]:
        """The IP versions (4, 6) for which instance networks can route every connection to the host (`network.WayOut`).

        Known after `open`.
        """

    @property
    def only_proxy(self) -> str:
        """Why an instance's network reaches the outside only through a proxy; "" if it does not."""

    @property
    def no_buckets(self) -> str:
        """Why buckets cannot be mounted here, and what to do; "" if they can. Known after `open`."""

    def enforcement(self) -> tuple[Enforcement, ...]:
        """Every limit and wall. Known after `open`."""

    def descriptors(self, listens: int) -> int:
        """The most open files of this process that one instance takes, apart from calls. Known after `open`.

        `listens` is the number of sockets that the host has in each instance's own network.
        """

    async def open(self) -> None:
        """Called once, before the first `create`. Raises `ConfigurationError` if the driver cannot work here."""

    async def create(self, spec: SandboxSpec, on_output: OnOutput, on_death: OnDeath) -> Sandbox:
        """See `SandboxLauncher.create`."""

    async def close(self) -> None:
        """Kills all sandboxes; on return no process of the driver is left."""
