"""Leases code packages on disk from the writer, which alone unpacks and removes them.

A follower's launcher uses `LeasedPackages` instead of `store.packages`; `agents.followed` uses `LentPackages`.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from sesame.agents import messages as m
from sesame.agents.link import Link
from sesame.model.errors import PlatformError, SesameError, StoreUnavailable
from sesame.sandbox.launch import PackageLease, Packages

Ask = Callable[[Callable[[int], m.Message]], Awaitable[m.Message]]
Send = Callable[[m.Message], None]


class Lease:
    """Implements `sandbox.launch.PackageLease`."""

    def __init__(self, leased: m.Leased, end: Callable[[], None]) -> None:
        self.code_dirs = tuple(map(Path, leased.code_dirs))
        self.compiled = tuple(map(Path, leased.compiled))
        self._end = end

    def release(self) -> None:
        end, self._end = self._end, lambda: None
        end()


class LeasedPackages:
    """Implements `sandbox.launch.Packages`."""

    def __init__(self, ask: Ask, send: Send) -> None:
        self._ask = ask
        self._send = send
        self._held: dict[int, tuple[tuple[str, ...], str]] = {}

    async def lease(self, sha256s: Sequence[str], runtime: str) -> Lease:
        """Raises `StoreUnavailable` if a retry may help, `Unavailable` without a writer, else `PlatformError`."""
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
        """Leases everything that is in use here again, from a new writer."""
        for number, (named, runtime) in self._held.items():
            send(m.LeasePackages(number, named, runtime))

    def unclaimed(self, leased: m.Leased) -> None:
        """Releases a lease for which nobody waits, unless it is one of `lease_again` that is still in use."""
        if leased.n not in self._held:
            self._send(m.Release(leased.n))


class LentPackages:
    """The leases of one follower, by the number of the question that asked for each."""

    def __init__(self, packages: Packages) -> None:
        self._packages = packages
        self._leases: dict[int, PackageLease] = {}

    async def lend(self, asked: m.LeasePackages, link: Link) -> None:
        """Takes the lease and answers over `link`. Releases it if `link` has ended meanwhile."""
        try:
            lease = await self._packages.lease(asked.sha256s, asked.runtime)
        except SesameError as error:
            link.send(m.NotLeased(asked.n, str(error), isinstance(error, StoreUnavailable)))
            return
        if not link.open:
            lease.release()
            return
        self._leases[asked.n] = lease
        link.send(m.Leased(asked.n, tuple(map(str, lease.code_dirs)), tuple(map(str, lease.compiled))))

    def release(self, number: int) -> None:
        if (lease := self._leases.pop(number, None)) is not None:
            lease.release()

    def release_all(self) -> None:
        for lease in self._leases.values():
            lease.release()
        self._leases.clear()

    def taken_out(self) -> "LentPackages | None":
        """Moves all leases into a new object, to be released later; None if there are none."""
        if not self._leases:
            return None
        taken = LentPackages(self._packages)
        taken._leases, self._leases = self._leases, {}
        return taken
