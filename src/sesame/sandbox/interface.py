"""The interface between the engine and what isolates a function's process.

`engine` calls a `SandboxLauncher` and the `Sandbox` it returns; the drivers in `process` and `jail`, and the tests'
fake, implement it. Nothing here knows HTTP, services or the catalog. Each docstring says what holds after the call.
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
    """The unpacked root of a container image, which nothing writes to. `name` is for messages.

    What belongs to `user_id` and `group_id` there is the instance's own, where the driver can do that.
    """

    name: str
    root: Path
    user_id: int
    group_id: int
    home: str
    working_dir: str


class InstanceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine asks a launcher for. Nothing in it changes while the instance lives.

    `code` and `layers` are sha256 of code packages; `sandbox.launch` turns them and `nas` into directories.
    `environment` is complete but for what a driver adds (PATH of the interpreter and the like).
    `setup` is the static part of the function's context, sent to the shim once (docs/wire-protocol.md).
    With a `web_server` the function is one, and calls are requests to it, several at a time where the engine so wants.
    With an `image` its files and its program are the image's, and `code` may be "".
    With `buckets`, `keys` are those of its role, for what is asked of the buckets before a call brings newer ones.
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


class SandboxSpec(msgspec.Struct, frozen=True):
    """What a driver starts: an `InstanceSpec` with this machine's directories in place of the hashes.

    `compiled` are archives of compiled sources, of the code and then of layers; there may be none. `cpu_shares` weigh
    the processor time against other instances, by default as many as `memory_mb`; drivers without cgroups ignore them.
    With an `image` that is the instance's root, over which it may write up to `disk_mb`, and `code_dir` may be None.
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


class Call(msgspec.Struct, frozen=True):
    """One request to the shim. `kind` is invoke, load, initialize, pre_freeze or pre_stop; `meta` becomes JSON.

    A web server may be sent a health_check besides, while other calls run; its reply says whether it is well.

    With a `stream`, which only web servers take, both bodies pass through it, and the reply has none.
    """

    kind: str
    request_id: str
    meta: Mapping[str, Any]
    payload: bytes = b""
    stream: Stream | None = None


class Reply(msgspec.Struct, frozen=True):
    """The shim's answer. With `ok` false, `payload` is the JSON error body; `http` is what a WSGI handler set.

    `trace` is the traceback of a failure as the function's Python prints it, for people; "" where there is none.
    `handled`: the function gave its failure to a callback, instead of throwing it (reference/runtime.md §6.4).
    """

    ok: bool
    payload: bytes
    http: dict[str, Any] | None = None
    trace: str = ""
    handled: bool = False


# To a health_check: the server may be busy, or may hang.
NO_ANSWER_IN_TIME = Reply(False, b"no answer in time")


class Death(enum.StrEnum):
    """What ended a sandbox."""

    EXIT = "exit"
    """The process ended by itself; the detail says how, for example `exit status 3` or `killed by SIGSEGV`."""
    OUT_OF_MEMORY = "out_of_memory"
    DISK = "disk"
    PROTOCOL = "protocol"
    """The process sent what the wire protocol does not allow."""
    RAN_ON = "ran_on"
    """It ran on between two calls, although it was stopped over and over; the detail says so."""
    KILLED = "killed"
    """The host ended it; the detail is the reason that `kill` was given."""


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
    """The process ended before it answered, or had ended before it was asked."""

    def __init__(self, reason: Death | str, detail: str = "") -> None:
        super().__init__(detail or str(reason))
        self.reason = Death(reason)


class StartFailure(enum.StrEnum):
    """Whether a start that failed can succeed when it is tried again."""

    REFUSED = "refused"
    """Not before the function's configuration or this machine changes; the message tells the caller what to do."""
    CRASHED = "crashed"
    """The process ended by itself, or was not ready in time; it will probably do so again."""
    LOST = "lost"
    """A code package of the function is gone from this machine; the message says what to do."""
    PROGRAM = "program"
    """The function's own program is missing, has ended or does not listen; the message is for the caller."""
    TRANSIENT = "transient"
    """Something of the host failed at that moment; another try may succeed at once."""


class SandboxStartFailed(SesameError):
    """No instance came up, and nothing is left of it.

    The message is for the operator's log. `cause` may be shown to callers: it names no path and holds no output. Of a
    REFUSED start both are the same text, as of a PROGRAM, which also has a `problem`.
    """

    problem: StartProblem | None = None

    def __init__(self, message: str, kind: StartFailure = StartFailure.TRANSIENT, cause: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.cause = message if kind in (StartFailure.REFUSED, StartFailure.PROGRAM) else cause

    @classmethod
    def of(cls, error: Exception, *, interpreter: Path, exit: str, output: str) -> "SandboxStartFailed":
        """Classifies what a driver's start ran into; nothing of the process is left when this is called.

        `exit` says how the process ended by itself, "" when the host ended it; `output` is what it wrote.
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
            # However the host noticed it: by the end of the stream, or by what it looked for in /proc.
            kind, cause = StartFailure.CRASHED, exit
        elif isinstance(error, SandboxDied) and error.reason is not Death.EXIT:
            kind, cause = StartFailure.CRASHED, error.reason.value
        else:
            kind, cause = StartFailure.TRANSIENT, ""
        detail = " ".join(part for part in (str(error) or cause, f"({exit})" if exit else "", output) if part)
        return cls(f"{interpreter}: {detail}", kind, cause)


class ProgramFailed(SandboxStartFailed):
    """The program that the function brings did not come up."""

    def __init__(self, problem: StartProblem, message: str) -> None:
        super().__init__(message, StartFailure.PROGRAM)
        self.problem = problem

    def with_log(self, output: str) -> "ProgramFailed":
        """With what the program wrote, as the cloud shows it (reference/runtime.md §14)."""
        assert self.problem is not None
        return ProgramFailed(self.problem, f"{self}\nLogs:\n{output}" if output else str(self))


class Sandbox(Protocol):
    """One running instance, ready for its first call. Takes one call at a time, unless it is a web server."""

    @property
    def instance_id(self) -> str: ...

    @property
    def phases(self) -> Mapping[str, float]:
        """Milliseconds of each phase of the start, in the order in which they happened."""

    @property
    def death(self) -> SandboxDied | None:
        """What ended the sandbox; None while it lives. Final once `kill` has returned."""

    async def call(self, call: Call) -> Reply:
        """Sends one request and waits for its reply.

        On return everything the function wrote before it answered has been given to `on_output`.
        Raises `SandboxDied` when the process ends, breaks the protocol or is killed meanwhile; then output has been
        drained too and no process of the instance is left.
        A cancelled call leaves the sandbox unusable: the caller must kill it.
        """

    async def kill(self, reason: KillReason) -> None:
        """On return every process of the instance has ended and what it held of the host is freed; idempotent.

        For a TIMEOUT the shim first gets a short grace to log the stacks of its threads (runtime.md §6.3).
        """

    async def exec(self, command: Command) -> Execution:
        """Starts a command beside the function, which may be busy. The caller has thawed the instance, and closes it.

        A command that cannot be found or run ends with 127 or 126 and says why in its error output.
        Raises `SandboxStartFailed` when nothing was started, `SandboxDied` when the instance has ended.
        """

    def memory_peak_mb(self) -> float:
        """Highest memory use of the instance so far, by the kernel's count."""

    async def usage(self) -> Usage | None:
        """What the instance uses now; None when it has ended."""

    def freeze(self) -> None:
        """Stops the instance's processes from running until `thaw`; no effect where the driver cannot."""

    def thaw(self) -> None:
        """The instance's processes run again; no effect on one that is not frozen."""

    def on_end(self, callback: Callable[[], object]) -> None:
        """Calls back once nothing of the instance is left; at once if that is so already."""


class Enforcement(msgspec.Struct, frozen=True):
    """One limit or wall, whether it is held on this machine, and by what."""

    what: str
    enforced: bool
    by: str


OnOutput = Callable[[bytes], None]
OnDeath = Callable[[], None]


class SandboxLauncher(Protocol):
    """What the engine starts instances with."""

    async def create(self, spec: InstanceSpec, on_output: OnOutput, on_death: OnDeath) -> Sandbox:
        """Starts one instance; on return its shim is ready for the first call.

        `on_output` gets stdout and stderr as they come; `on_death` is called once if the process ends between calls.
        Raises `SandboxStartFailed`. After a failure or a cancellation nothing is left.
        """


class SandboxDriver(Protocol):
    """One way to isolate instances on this machine."""

    @property
    def name(self) -> str: ...

    @property
    def network(self) -> str:
        """The network of instances, known once open: host (they share it), egress or none (each has its own)."""

    @property
    def no_network(self) -> str:
        """Why instances share the host's network although nobody asked for that; "" where that is not so."""

    @property
    def leads_out(self) -> frozenset[int]:
        """Of which versions of the internet protocol, 4 and 6, networks of instances' own can lead every connection to
        the host (`network.WayOut`); known once open.
        """

    @property
    def only_proxy(self) -> str:
        """Why the way out of instances' networks is a proxy and nothing else; "" where that is not so."""

    @property
    def no_buckets(self) -> str:
        """Why no bucket can be mounted into functions here, and what to do; "" where they can. Known once open."""

    def enforcement(self) -> tuple[Enforcement, ...]:
        """Every limit and wall; known once open."""

    def descriptors(self, listens: int) -> int:
        """Open files of this process that one instance takes at most, calls aside; known once open.

        `listens` is how many sockets the host has in each network of an instance's own.
        """

    async def open(self) -> None:
        """Called once, before the first `create`. Raises `ConfigurationError` where the driver cannot hold."""

    async def create(self, spec: SandboxSpec, on_output: OnOutput, on_death: OnDeath) -> Sandbox:
        """As `SandboxLauncher.create`."""

    async def close(self) -> None:
        """On return no process of the driver is left; its sandboxes have been killed."""
