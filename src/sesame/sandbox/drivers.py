"""Chooses the sandbox driver: the one that was asked for, or the strongest that holds on this machine.

Called by `app`, `sesame invoke` and `sesame doctor`. A weaker driver is chosen only with a reason, which is shown.
"""

import asyncio
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.sandbox.addresses import CODE_ROOT
from sesame.sandbox.compiling import SandboxedCompiler
from sesame.sandbox.interface import SandboxDriver
from sesame.sandbox.launch import Launch
from sesame.sandbox.network import Answers
from sesame.sandbox.process.driver import PlainDriver
from sesame.sandbox.shim import SHIM

# The package `jail` needs Linux. It is imported only where it is used, so that everything else works without it.
if TYPE_CHECKING:
    from sesame.sandbox.jail.isolation import Isolation


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a driver. `name` is auto, jail or plain; `cpu` is shares or cloud.

    `state` is a directory for drivers, one below it for each; zygotes of `runtimes` are started ahead of use. With
    `one_instance` nothing is made ahead for a second one. `network` is auto, host, egress or none; in networks of
    their own instances find `answers`. `agent`: which of how many agents on this machine, the first being 1, asks.
    """

    name: str
    cpu: str
    state: Path
    runtimes: tuple[str, ...]
    one_instance: bool = False
    network: str = "host"
    answers: Answers | None = None
    trusted: Path | None = None
    agent: tuple[int, int] = (1, 1)


class Choice(msgspec.Struct, frozen=True):
    """The driver, not open yet, and a sentence on why it is this one; empty when it was asked for by name."""

    driver: SandboxDriver
    reason: str


async def find_out(name: str) -> "Isolation | None":
    """What `choose` has to know of this machine for the driver of this name; to be asked beside other work."""
    if name != "auto" or platform.system() != "Linux":
        return None
    from sesame.sandbox.jail.isolation import probe

    return await asyncio.to_thread(probe)


async def choose(wanted: Wanted, launch: Callable[[str], Launch], isolation: "Isolation | None" = None) -> Choice:
    """`isolation` is what `find_out` said, if it was asked before.

    `open` of the chosen driver raises `ConfigurationError` where one that was asked for by name cannot hold.
    """
    if wanted.name == "plain":
        return _plain(wanted, launch, "")
    if wanted.name == "auto" and platform.system() != "Linux":
        reason = f"no jail, because a jail needs Linux, and this is {platform.system()}"
        return _plain(wanted, launch, reason)
    from sesame.sandbox.jail.driver import JailDriver, JailOptions

    options = JailOptions(
        runtimes=wanted.runtimes, cpu=wanted.cpu, network=wanted.network, trusted=wanted.trusted, agent=wanted.agent
    )
    if wanted.one_instance:
        options = msgspec.structs.replace(options, ready_resources=0, ready_prewarmed=0)
    if wanted.name == "jail":
        return Choice(JailDriver(launch, wanted.state / "jail", options, wanted.answers), "")
    isolation = isolation or await find_out("auto")
    assert isolation is not None
    if isolation.possible:
        # What was found here holds for `open` too, which would ask the system again.
        options = msgspec.structs.replace(options, probe=lambda: isolation)
        return Choice(JailDriver(launch, wanted.state / "jail", options, wanted.answers), _why_no_better(isolation))
    return _plain(wanted, launch, f"no jail, because {_why_no_better(isolation)}")


def _plain(wanted: Wanted, launch: Callable[[str], Launch], reason: str) -> Choice:
    if wanted.network in ("egress", "none"):
        why = f" ({reason})" if reason else ""
        raise ConfigurationError(
            f"network {wanted.network}: processes of sandbox plain share the host's network{why}; expected "
            "--network host or --sandbox jail"
        )
    return Choice(PlainDriver(launch, wanted.state / "plain"), reason)


def compiler_on(driver: SandboxDriver, launch: Callable[[str], Launch]) -> SandboxedCompiler:
    """What compiles packages in instances of this driver."""
    if driver.name == "jail":
        from sesame.sandbox.jail.plan import SHIM_ROOT

        return SandboxedCompiler(driver, launch, SHIM_ROOT, CODE_ROOT)
    return SandboxedCompiler(driver, launch, str(SHIM))


def _why_no_better(isolation: "Isolation") -> str:
    if isolation.kind == "root":
        return ""
    shown = "in a user namespace: " if isolation.possible else ""
    return f"{shown}{isolation.reason}; {isolation.hint}"
