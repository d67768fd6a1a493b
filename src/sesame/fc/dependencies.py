"""The dependencies that `app` passes to the Function Compute endpoint."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from sesame.control.account import AccountSettings
from sesame.control.control import Control
from sesame.control.recorder import Recorder
from sesame.engine.interface import Engine
from sesame.fc.instances import Instances
from sesame.fc.links import CodeLinks
from sesame.fc.placement import Placement
from sesame.fc.replays import Replays
from sesame.fc.tracing import Continued
from sesame.identity.authentication import Authentication
from sesame.identity.authorization import Authorization
from sesame.identity.roles import Roles
from sesame.model.arn import Arns
from sesame.model.clocks import Clocks
from sesame.model.function import Package
from sesame.model.invocation import Credentials
from sesame.model.service import Service

# (role ARN, session name, seconds for which the keys must be valid) → keys. Raises `Forbidden`.
Lend = Callable[[str, str, float], Credentials]


class Packages(Protocol):
    """The part of `store.packages.packages.Packages` that is used here."""

    async def fetched_archive(self, package: Package) -> Path | None: ...


class FcDependencies(msgspec.Struct, frozen=True, kw_only=True):
    """`lend` returns temporary keys of a role. Signature dates are compared with `callers_wall`, by default with the
    wall clock of `clocks`. `destinations` maps ARNs to URLs, like the setting of that name. `log_problem` returns why a
    service's function output does not reach its logstore, or "" if it does or should not.
    `continued` is for `fc.async_invoke.AsyncIntake`. `placement` is set if this is one of several agents.
    """

    authentication: Authentication
    authorization: Authorization
    roles: Roles
    lend: Lend
    engine: Engine
    control: Control
    packages: Packages
    account: AccountSettings
    arns: Arns
    link_secret: bytes
    clocks: Clocks
    recorder: Recorder
    replays: Replays
    log_problem: Callable[[Service], str]
    destinations: Mapping[str, str] = msgspec.field(default_factory=dict)
    callers_wall: Callable[[], float] | None = None
    continued: Continued | None = None
    placement: Placement | None = None


class VersionDependencies(msgspec.Struct, frozen=True):
    """The dependencies of the handlers of one API version."""

    given: FcDependencies
    instances: Instances
    links: CodeLinks
