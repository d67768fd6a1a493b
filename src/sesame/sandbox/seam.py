"""The seam between the engine and whatever isolates a function's process.

`engine.instance` talks to these protocols only; `plain` and `jail` keep them, and so does the tests' fake.
Nothing here knows HTTP, services or the catalog.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from sesame.model.errors import SesameError


class SandboxSpec(msgspec.Struct, frozen=True):
    """All that a driver needs to start one instance; nothing in it may change while the instance lives.

    `setup` is the static part of the context, sent to the shim once (docs/wire-protocol.md).
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


class SandboxDied(SesameError):
    """The process ended before it answered. `reason` is exit, out_of_memory, disk, protocol or killed."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class SandboxStartFailed(SesameError):
    """No instance came up; nothing is left of it. The message says why and is safe to log, not to show."""


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
