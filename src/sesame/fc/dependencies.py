"""What the Function Compute endpoint is given by `app`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sesame.control.account import AccountSettings
from sesame.control.control import Control
from sesame.engine.interface import Engine
from sesame.identity.authentication import Authentication
from sesame.identity.authorization import Authorization
from sesame.identity.roles import Roles
from sesame.model.arn import Arns
from sesame.model.clocks import Clocks
from sesame.model.function import Package


class Packages(Protocol):
    """The part of `store.packages.packages.Packages` that is used here."""

    def archive(self, package: Package) -> Path: ...


@dataclass(frozen=True, kw_only=True)
class FcDependencies:
    """Dates of signatures are compared with `callers_wall`; None: with the wall clock of `clocks`."""

    authentication: Authentication
    authorization: Authorization
    roles: Roles
    engine: Engine
    control: Control
    packages: Packages
    account: AccountSettings
    arns: Arns
    link_secret: bytes
    clocks: Clocks
    callers_wall: Callable[[], float] | None = None
