"""Remembers the nonces of signatures, so that an intercepted request cannot be replayed.

Used by `fc.auth.verifier` and `sts.auth` for the schemes whose clients sign a nonce: ACS3-HMAC-SHA256 and RPC 1.0.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b

from sesame.model import limits

# A request is valid from CLOCK_SKEW_S before the time it was signed for until CLOCK_SKEW_S after it.
REMEMBERED_S = 2.0 * limits.CLOCK_SKEW_S
# POLICY: beyond this many requests in `REMEMBERED_S` the oldest are forgotten, and could be replayed. A nonce takes 90
# bytes (measured, CPython 3.11): 17 MiB for the two generations.
GENERATION_MAX = 100_000
DIGEST_BYTES = 16


def digest_of(access_key_id: str, nonce: bytes) -> bytes:
    """What is stored of a nonce: DIGEST_BYTES bytes."""
    key = access_key_id.encode("latin-1", "replace")
    return blake2b(b"%b\0%b" % (key, nonce), digest_size=DIGEST_BYTES).digest()


class UsedNonces:
    """Belongs to one event loop; `wall_clock` returns Unix seconds.

    Nonces used before a restart are forgotten, unless the caller stores what `take_noted` returns.

    There are two generations: when the younger one is full or older than `REMEMBERED_S`, it becomes the older one,
    whose former contents are forgotten. No nonce is expired individually, so every use costs the same.
    """

    def __init__(self, wall_clock: Callable[[], float], generation_max: int = GENERATION_MAX) -> None:
        self._wall_clock = wall_clock
        self._generation_max = generation_max
        self._younger: set[bytes] = set()
        self._older: set[bytes] = set()
        self._begun_at = 0.0
        # The nonces used since `remember`; None before.
        self._noted: list[bytes] | None = None

    def remember(self, digests: Iterable[bytes]) -> None:
        """Adds used nonces, and records new ones from now on."""
        for digest in digests:
            self.use_digest(digest)
        self._noted = []

    def take_noted(self) -> list[bytes]:
        """The nonces used since the last call, or since `remember`."""
        noted, self._noted = self._noted or [], []
        return noted

    def use(self, access_key_id: str, nonce: bytes) -> bool:
        """Records the nonce. Returns whether it has not been used with this key before."""
        return self.use_digest(digest_of(access_key_id, nonce))

    def use_digest(self, used: bytes) -> bool:
        """Like `use`, for a result of `digest_of`."""
        if used in self._younger or used in self._older:
            return False
        now = self._wall_clock()
        if len(self._younger) >= self._generation_max or now - self._begun_at >= REMEMBERED_S:
            self._older = self._younger
            self._younger = set()
            self._begun_at = now
        self._younger.add(used)
        if self._noted is not None:
            self._noted.append(used)
        return True
