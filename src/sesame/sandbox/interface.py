"""The seam between the engine and whatever isolates a function's process.

`engine.instance` talks to these protocols only; `plain` and `jail` keep them, and so does the tests' fake.
Nothing here knows HTTP, services or the catalog.
"""

import enum
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from sesame.model.errors import SesameError


class SandboxSpec(msgspec.Struct, frozen=True):
    """All that a driver needs to start one instance; nothing in it may change while the instance lives.

    `setup` is the static part of the context, sent to the shim once (docs/wire-protocol.md).
    `compiled` are the files of compiled code of `code_dir`, then of each of `layer_dirs`; they need not exist.
    `environment` is complete: what is not in it, the function does not see (a driver adds PATH and the like).
    """

    instance_id: str
    runtime: str
    code_dir: Path
    layer_dirs: tuple[Path, ...]
    environment: Mapping[str, str]
    memory_mb: int
    disk_mb: int
    setup: Mapping[str, Any]
    compiled: tuple[Path, ...] = ()


class Call(msgspec.Struct, frozen=True):
    """One request to the shim. `kind` is invoke, initialize, pre_freeze or pre_stop; `meta` is JSON-serialisable."""

    kind: str
    request_id: str
    meta: Mapping[str, Any]
    payload: bytes = b""


class Reply(msgspec.Struct, frozen=True):
    """The shim's answer. With `ok` false, `payload` is the JSON error body; `http` is what a WSGI handler set."""

    ok: bool
    payload: bytes
    http: dict[str, Any] | None = None


class Command(msgspec.Struct, frozen=True):
    """What to run beside the function. With `tty` it has a terminal of its own, which is its output and its errors.

    Without `stdin` it reads an empty input.
    """

    argv: tuple[str, ...]
    tty: bool = False
    stdin: bool = True


class Execution(Protocol):
    """One command in an instance: it may do what the function may. Ends with the instance, or by `close`."""

    async def read(self) -> tuple[int, bytes] | None:
        """The next piece of output, with 1 for standard output and 2 for errors; None after the last.

        What is not read stays with the command, which then waits. A cancelled read loses nothing.
        """

    async def write(self, data: bytes) -> None:
        """Waits until the command's input has taken everything; what nobody will read any more is dropped."""

    def end_input(self) -> None:
        """The command reads the end of its input, once it has read the rest. A terminal has no such end."""

    def resize(self, columns: int, rows: int) -> None:
        """Of the terminal, if there is one."""

    async def wait(self) -> int:
        """The exit code as a shell has it: 128 and the signal's number for a command that was killed."""

    async def close(self) -> None:
        """Ends the command and every process that descends from it, and returns when they are gone; idempotent."""


class SandboxDied(SesameError):
    """The process ended before it answered. `reason` is exit, out_of_memory, disk, protocol or killed."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class StartFailure(enum.StrEnum):
    """Whether a start that failed can succeed when it is tried again.

    REFUSED: not before the function's configuration or this machine changes; the message tells the caller what to do.
    CRASHED: the process ended by itself, or was not ready in time; it will probably do so again.
    TRANSIENT: something of the host failed at that moment; another try may succeed at once.
    """

    REFUSED = "refused"
    CRASHED = "crashed"
    TRANSIENT = "transient"


class SandboxStartFailed(SesameError):
    """No instance came up, and nothing is left of it.

    The message is for the operator's log. `cause` may be shown to callers: it names no path and holds no output. Of a
    REFUSED start both are the same text.
    """

    def __init__(self, message: str, kind: StartFailure = StartFailure.TRANSIENT, cause: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.cause = message if kind is StartFailure.REFUSED else cause

    @classmethod
    def of(cls, error: Exception, *, interpreter: Path, exit: str, output: str) -> "SandboxStartFailed":
        """Classifies what a driver's start ran into; nothing of the process is left when this is called.

        `exit` says how the process ended by itself, "" when the host ended it; `output` is what it wrote.
        """
        if isinstance(error, SandboxStartFailed):
            kind, cause = error.kind, error.cause
            if kind is StartFailure.REFUSED:
                return error
        elif isinstance(error, TimeoutError):
            kind, cause = StartFailure.CRASHED, "it was not ready in time"
        elif isinstance(error, SandboxDied) and (exit or error.reason != "exit"):
            kind, cause = StartFailure.CRASHED, exit or error.reason
        else:
            kind, cause = StartFailure.TRANSIENT, ""
        detail = " ".join(part for part in (str(error) or cause, f"({exit})" if exit else "", output) if part)
        return cls(f"{interpreter}: {detail}", kind, cause)


class Sandbox(Protocol):
    """One running instance. One call at a time; after `SandboxDied` or `kill` nothing of it is left running."""

    @property
    def instance_id(self) -> str: ...

    @property
    def phases(self) -> Mapping[str, float]:
        """Milliseconds of each phase of the start, in the order in which they happened."""

    async def call(self, call: Call) -> Reply:
        """Sends one request and waits for its reply.

        Holds on return: everything the function wrote before it answered was given to `on_output`.
        Raises `SandboxDied` when the process ends, breaks the protocol or is killed meanwhile; output is
        drained then too.
        A cancelled call leaves the sandbox unusable: the caller kills it.
        """

    async def kill(self, *, dump_stacks: bool = False) -> None:
        """Ends every process of the instance and frees what it held; idempotent.

        With `dump_stacks` the shim first gets a short grace to log the stacks of its threads (runtime.md §6.3).
        """

    async def exec(self, command: Command) -> Execution:
        """Starts a command beside the function, which may be busy; the caller has thawed the instance and closes it.

        A command that cannot be found or run ends with 127 or 126, and says why in its error output.
        Raises `SandboxStartFailed` when nothing was started, `SandboxDied` when the instance has ended.
        """

    def memory_peak_mb(self) -> float:
        """Highest memory of the instance so far, by the kernel's count."""

    def freeze(self) -> None:
        """Stops the instance's processes from running until `thaw`; no-op where the driver cannot."""

    def thaw(self) -> None: ...


class Enforcement(msgspec.Struct, frozen=True):
    """One limit or wall and whether this driver holds it here; shown at start-up and by `sesame doctor`."""

    what: str
    enforced: bool
    by: str


OnOutput = Callable[[bytes], None]


class SandboxDriver(Protocol):
    """Makes sandboxes. `open` before the first, `close` after the last; `close` leaves no process behind."""

    @property
    def name(self) -> str: ...

    def enforcement(self) -> tuple[Enforcement, ...]: ...

    async def open(self) -> None: ...

    async def create(self, spec: SandboxSpec, on_output: OnOutput, on_death: Callable[[], None]) -> Sandbox:
        """Starts one instance and returns when its shim is ready for the first call.

        `on_output` gets stdout and stderr as they come; `on_death` is called once if the process ends while idle.
        Raises `SandboxStartFailed`; a cancelled create leaves nothing behind.
        """

    async def close(self) -> None: ...
