"""Code packages on the disk, leased of the writer, which alone removes them.

`LeasedPackages` is used by a follower's launcher in the place of `store.packages`, `LentPackages` by `agents.followed`.
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


class LentPackages:
    """What one follower has leased, by the numbers of its questions."""

    def __init__(self, packages: Packages) -> None:
        self._packages = packages
        self._leases: dict[int, PackageLease] = {}

    async def lend(self, asked: m.LeasePackages, link: Link) -> None:
        """Answers over the link."""
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
        """All of them, to be released by themselves; None where there are none."""
        if not self._leases:
            return None
        taken = LentPackages(self._packages)
        taken._leases, self._leases = self._leases, {}
        return taken
