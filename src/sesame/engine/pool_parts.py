"""What a pool is built from, and what it counts.

Used by `engine.pool`, and by code that builds a pool or reads its counts.
"""

import asyncio
from collections.abc import Callable

import msgspec

from sesame.engine.capacity import Capacity
from sesame.engine.environment import CredentialsOf
from sesame.engine.hooks import Hooks
from sesame.engine.instance import Instance
from sesame.engine.invocation_log import LogSink
from sesame.engine.policies import Caps
from sesame.engine.resolver import Snapshots
from sesame.model.clocks import Clocks
from sesame.sandbox.interface import SandboxLauncher


class PoolDependencies(msgspec.Struct, frozen=True):
    """The pool's collaborators. `capacity`, if given, is used instead of one made from `caps` and `shortage`."""

    launcher: SandboxLauncher
    resolver: Snapshots
    clocks: Clocks
    caps: Caps
    sink: LogSink
    account_id: str
    region: str
    hooks: Hooks
    shortage: Callable[[], str]
    credentials: CredentialsOf
    capacity: Capacity | None = None


class Counts(msgspec.Struct):
    """Events since the start. Each call that asks for an instance is one of warm, cold, refused or failed.

    `provisioned` and `prewarmed` instances were started ahead of calls.
    """

    warm: int = 0
    cold: int = 0
    refused: int = 0
    failed: int = 0
    evicted: int = 0
    expired: int = 0
    outdated: int = 0
    died_idle: int = 0
    provisioned: int = 0
    prewarmed: int = 0


class Admitted(msgspec.Struct, frozen=True):
    """A new instance, which may start once the `ending` ones have ended."""

    instance: Instance
    ending: "list[asyncio.Task[None]]"
