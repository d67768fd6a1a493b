"""Code packages on the disk, leased of the writer, which alone removes them.

Used by a follower's launcher in the place of `store.packages`.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from sesame.agents import messages as m
from sesame.model.errors import PlatformError, StoreUnavailable

Ask = Callable[[Callable[[int], m.Message]], Awaitable[m.Message]]
Send = Callable[[m.Message], None]


class Lease:
    """As `sandbox.launch.PackageLease`."""

    def __init__(self, leased: m.Leased, end: Callable[[], None]) -> None:
        self.code_dirs = tuple(map(Path, leased.code_dirs))
        self.compiled = tuple(map(Path, leased.compiled))
        self._end = end

    def release(self) -> None:
        end, self._end = self._end, lambda: None
        end()


class LeasedPackages:
    """As `sandbox.launch.Packages`."""

    def __init__(self, ask: Ask, send: Send) -> None:
        self._ask = ask
        self._send = send
        self._held: dict[int, tuple[tuple[str, ...], str]] = {}

    async def lease(self, sha256s: Sequence[str], runtime: str) -> Lease:
        named = tuple(sha256s)
        said = await self._ask(lambda n: m.LeasePackages(n, named, runtime))
        if isinstance(said, m.NotLeased):
            raise StoreUnavailable(said.why) if said.passing else PlatformError(said.why)
        assert isinstance(said, m.Leased)
        number = said.n
        self._held[number] = named, runtime

        def end() -> None:
            del self._held[number]
            self._send(m.Release(number))

        return Lease(said, end)

    def lease_again(self, send: Send) -> None:
        """Of another writer, what is held."""
        for number, (named, runtime) in self._held.items():
            send(m.LeasePackages(number, named, runtime))
