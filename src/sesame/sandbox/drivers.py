"""Chooses the sandbox driver: the requested one, or the strongest that works on this machine.

Called by `app`, `sesame invoke` and `sesame doctor`. A weaker driver is chosen only for a reason that is shown.
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

# The package `jail` requires Linux. It is imported only where it is used, so that everything else works without it.
if TYPE_CHECKING:
    from sesame.sandbox.jail.isolation import Isolation


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The requested properties of a driver. `name` is auto, jail or plain; `cpu` is shares or cloud.

    `state` is the parent of each driver's own directory. The zygotes of `runtimes` are started ahead of use. With
    `one_instance` nothing is prepared for a second one. `network` is auto, host, egress or none; `answers` serves
    instances that have their own network. `agent` is (number of this agent, from 1; number of agents on this machine).
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
    """The driver, not opened yet, and a sentence that explains the choice; "" if it was requested by name."""

    driver: SandboxDriver
    reason: str


async def find_out(name: str) -> "Isolation | None":
    """Probes what `choose` needs to know about this machine; call it concurrently with other work."""
    if name != "auto" or platform.system() != "Linux":
        return None
    from sesame.sandbox.jail.isolation import probe

    return await asyncio.to_thread(probe)


async def choose(wanted: Wanted, launch: Callable[[str], Launch], isolation: "Isolation | None" = None) -> Choice:
    """`isolation` is the result of `find_out`, if it was called before.

    The chosen driver's `open` raises `ConfigurationError` if a driver requested by name cannot work here.
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
        # Let `open` reuse this result instead of probing again.
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
    """Returns a compiler of packages that uses instances of this driver."""
    if driver.name == "jail":
        from sesame.sandbox.jail.plan import SHIM_ROOT

        return SandboxedCompiler(driver, launch, SHIM_ROOT, CODE_ROOT)
    return SandboxedCompiler(driver, launch, str(SHIM))


def _why_no_better(isolation: "Isolation") -> str:
    if isolation.kind == "root":
        return ""
    shown = "in a user namespace: " if isolation.possible else ""
    return f"{shown}{isolation.reason}; {isolation.hint}"
