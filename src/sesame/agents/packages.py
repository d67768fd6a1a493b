"""Leases code packages and images on disk from the writer, which alone unpacks and removes them.

A follower's launcher uses `LeasedPackages` instead of `store.packages`, and `LeasedImages` instead of `store.images`;
`agents.followed` uses `LentPackages`.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from sesame.agents import messages as m
from sesame.agents.link import Link
from sesame.model.container import ImageConfig, ImageUnavailable
from sesame.model.errors import PlatformError, SesameError, StoreUnavailable
from sesame.sandbox.launch import ImageLease, Images, PackageLease, Packages

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
        # By number: what is in use here.
        self._held: dict[int, m.LeasePackages] = {}

    async def lease(self, sha256s: Sequence[str], runtime: str) -> Lease:
        """Raises `StoreUnavailable` if a retry may help, `Unavailable` without a writer, else `PlatformError`."""
        named = tuple(sha256s)
        said = await self.leased(lambda n: m.LeasePackages(n, named, runtime))
        if isinstance(said, m.NotLeased):
            raise StoreUnavailable(said.why) if said.passing else PlatformError(said.why)
        return Lease(said, self.end_of(said))

    async def leased(self, question: Callable[[int], m.LeasePackages]) -> m.Leased | m.NotLeased:
        """The writer's answer. What is leased must be ended by `end_of`."""
        said = await self._ask(question)
        if isinstance(said, m.Leased):
            self._held[said.n] = question(said.n)
            return said
        assert isinstance(said, m.NotLeased)
        return said

    def end_of(self, leased: m.Leased) -> Callable[[], None]:
        """What ends the lease; to be called once."""

        def end() -> None:
            del self._held[leased.n]
            self._send(m.Release(leased.n))

        return end

    def lease_again(self, send: Send) -> None:
        """Leases everything that is in use here again, from a new writer."""
        for held in self._held.values():
            send(held)

    def unclaimed(self, leased: m.Leased) -> None:
        """Releases a lease for which nobody waits, unless it is one of `lease_again` that is still in use."""
        if leased.n not in self._held:
            self._send(m.Release(leased.n))


class LeasedImage:
    """Implements `sandbox.launch.ImageLease`."""

    def __init__(self, root: Path, config: ImageConfig, end: Callable[[], None]) -> None:
        self.root = root
        self.config = config
        self._end = end

    def release(self) -> None:
        end, self._end = self._end, lambda: None
        end()


class LeasedImages:
    """Implements `sandbox.launch.Images`, where the writer is on this machine."""

    def __init__(self, leases: LeasedPackages) -> None:
        self._leases = leases

    async def lease(self, reference: str) -> LeasedImage:
        """Raises `ImageUnavailable` in the writer's words, and `Unavailable` without a writer."""
        said = await self._leases.leased(lambda n: m.LeasePackages(n, (), "", reference))
        if isinstance(said, m.NotLeased):
            raise ImageUnavailable(said.why)
        assert said.config is not None
        return LeasedImage(Path(said.root), said.config, self._leases.end_of(said))


class LentPackages:
    """The leases of one follower, by the number of the question that asked for each."""

    def __init__(self, packages: Packages, images: Images | None = None) -> None:
        """`images` is None where none can be lent."""
        self._packages = packages
        self._images = images
        self._leases: dict[int, PackageLease | ImageLease] = {}

    async def lend(self, asked: m.LeasePackages, link: Link) -> None:
        """Takes the lease and answers over `link`. Releases it if `link` has ended meanwhile."""
        try:
            lease, leased = await (self._image(asked) if asked.image else self._code(asked))
        except SesameError as error:
            link.send(m.NotLeased(asked.n, str(error), isinstance(error, StoreUnavailable)))
            return
        if not link.open:
            lease.release()
            return
        self._leases[asked.n] = lease
        link.send(leased)

    async def _code(self, asked: m.LeasePackages) -> tuple[PackageLease | ImageLease, m.Leased]:
        lease = await self._packages.lease(asked.sha256s, asked.runtime)
        return lease, m.Leased(asked.n, tuple(map(str, lease.code_dirs)), tuple(map(str, lease.compiled)))

    async def _image(self, asked: m.LeasePackages) -> tuple[PackageLease | ImageLease, m.Leased]:
        if self._images is None:
            raise ImageUnavailable(f"The image '{asked.image}' cannot run on this agent")
        lease = await self._images.lease(asked.image)
        return lease, m.Leased(asked.n, root=str(lease.root), config=lease.config)

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
        taken = LentPackages(self._packages, self._images)
        taken._leases, self._leases = self._leases, {}
        return taken
