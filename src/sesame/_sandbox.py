"""Opens the sandbox driver concurrently with other work; its slow steps run in separate processes.

Begun by `app` before it opens storage, and by `testing.server` before it imports `app`; so this module imports only
what a driver needs.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import msgspec

from sesame.sandbox.drivers import Wanted, choose, find_out
from sesame.sandbox.interface import SandboxDriver
from sesame.sandbox.network import Answers, HostAnswers
from sesame.sandbox.runtimes.lookup import Runtimes

_AGENT = "agent-"


def all_of(runtimes: Collection[str]) -> tuple[str, ...]:
    return tuple(runtimes)


async def nothing() -> None:
    """Used if no certificates are needed."""


class SandboxNeeds(msgspec.Struct, frozen=True, kw_only=True):
    """`driver`, `cpu` and `network` are settings. `state` is the directory of all agents' drivers.

    `look_up` finds the interpreters, on a thread. `ahead` selects, from the runtimes found, those to prepare before
    their first use. `trust` returns the certificate file for functions with networks of their own. `answers` replaces
    the answers that `SandboxOpening` makes. `agent` as in `Wanted`.
    """

    driver: str
    cpu: str
    network: str = "host"
    trust: Callable[[], Awaitable[Path | None]] = nothing
    state: Path
    look_up: Callable[[], Runtimes]
    ahead: Callable[[Collection[str]], tuple[str, ...]] = all_of
    answers: Answers | None = None
    agent: tuple[int, int] = (1, 1)


class OpenSandbox(msgspec.Struct, frozen=True):
    """`reason` says why this driver was chosen; "" if the settings name it."""

    driver: SandboxDriver
    reason: str
    runtimes: Runtimes


class SandboxOpening:
    """Opens the driver; starts on construction, in the running event loop."""

    def __init__(self, needs: SandboxNeeds) -> None:
        self._answers = HostAnswers()
        opening = _open(needs, needs.answers or self._answers)
        self._opening = asyncio.get_running_loop().create_task(opening, name="opening the sandbox")
        self._closed = False

    @property
    def answers(self) -> HostAnswers:
        """The services for instances with networks of their own: no instance starts before they are `offered`."""
        return self._answers

    async def opened(self) -> OpenSandbox:
        """Waits for the driver. Raises `ConfigurationError` if the sandbox in the settings cannot be created here."""
        return await asyncio.shield(self._opening)

    async def close(self) -> None:
        """On return nothing of the driver is left, even if it was still being opened. Idempotent."""
        if self._closed:
            return
        self._closed = True
        await asyncio.wait([self._opening])
        if self._opening.exception() is None:
            await self._opening.result().driver.close()


def _state_of_agent(state: Path, number: int) -> Path:
    """Each agent's own folder; for the first, and for a Sesame with one agent, `state` itself."""
    return state if number == 1 else state / f"{_AGENT}{number}"


def _clear_former_agents(state: Path, agents: int) -> None:
    """Removes the folders of agents that are no longer started, because nobody else clears them."""
    for folder in state.glob(f"{_AGENT}*"):
        number = folder.name.removeprefix(_AGENT)
        if number.isdecimal() and int(number) > agents:
            shutil.rmtree(folder, ignore_errors=True)


async def _open(needs: SandboxNeeds, answers: Answers) -> OpenSandbox:
    number, agents = needs.agent
    if number == 1:
        await asyncio.to_thread(_clear_former_agents, needs.state, agents)
    runtimes, isolation, trusted = await asyncio.gather(
        asyncio.to_thread(needs.look_up), find_out(needs.driver), needs.trust()
    )
    wanted = Wanted(
        name=needs.driver,
        cpu=needs.cpu,
        state=_state_of_agent(needs.state, number),
        runtimes=needs.ahead(runtimes.found),
        network=needs.network,
        answers=answers,
        trusted=trusted,
        agent=needs.agent,
    )
    choice = await choose(wanted, runtimes.launch, isolation)
    await choice.driver.open()
    return OpenSandbox(choice.driver, choice.reason, runtimes)
