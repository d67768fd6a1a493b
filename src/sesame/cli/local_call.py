"""A function in a local directory and a call of it, as described by `sesame invoke`.

Used by `cli.invoke`, `cli.local` and `cli.kept`. Separate from the code that runs calls, so that calling a kept
function does not import the engine.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from sesame.model.invocation import Credentials


class LocalFunction(msgspec.Struct, frozen=True, kw_only=True):
    """The handler to call, and its limits. `code` is an absolute path; an empty `runtime` depends on the source."""

    code: Path
    handler: str
    runtime: str
    initializer: str
    timeout_s: int
    memory_mb: int
    environment: Mapping[str, str]


class LocalCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call: its event, or with `http_params` the body of a request; and the keys passed to the function."""

    event: bytes
    http_params: dict[str, object] | None = None
    credentials: Credentials = Credentials()
