"""Remembers which nonces were signed with, so that a request that was seen on its way cannot be sent once more.

Used by `fc.auth.verifier` and `sts.auth` for the schemes whose clients sign something that no two requests share:
ACS3-HMAC-SHA256 and RPC 1.0.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b

from sesame.model import limits

# A request is valid from this long before the time for which it was signed to as long after it.
REMEMBERED_S = 2.0 * limits.CLOCK_SKEW_S
# POLICY: of more requests than this in `REMEMBERED_S` the oldest are forgotten, and could be repeated. A nonce takes 90
# bytes (measured, CPython 3.11): 17 MiB for the two generations.
GENERATION_MAX = 100_000
DIGEST_BYTES = 16


def digest_of(access_key_id: str, nonce: bytes) -> bytes:
    """What is remembered of a nonce: DIGEST_BYTES."""
    key = access_key_id.encode("latin-1", "replace")
    return blake2b(b"%b\0%b" % (key, nonce), digest_size=DIGEST_BYTES).digest()


class UsedNonces:
    """Belongs to one event loop; `wall_clock` gives Unix seconds.

    What is used before a start is not known after it, but where somebody keeps what `take_noted` gives.

    There are two generations: the younger becomes the older when it is full or has been begun `REMEMBERED_S` ago, and
    the older is forgotten. No nonce is looked for or forgotten by itself, so that each use costs the same.
    """

    def __init__(self, wall_clock: Callable[[], float], generation_max: int = GENERATION_MAX) -> None:
        self._wall_clock = wall_clock
        self._generation_max = generation_max
        self._younger: set[bytes] = set()
        self._older: set[bytes] = set()
        self._begun_at = 0.0
        # Since `remember`: what was used.
        self._noted: list[bytes] | None = None

    def remember(self, digests: Iterable[bytes]) -> None:
        """These were used. From here on what is used is noted."""
        for digest in digests:
            self.use_digest(digest)
        self._noted = []

    def take_noted(self) -> list[bytes]:
        """What was used since this was asked, or since `remember`."""
        noted, self._noted = self._noted or [], []
        return noted

    def use(self, access_key_id: str, nonce: bytes) -> bool:
        """Whether this is its first use with this key."""
        return self.use_digest(digest_of(access_key_id, nonce))

    def use_digest(self, used: bytes) -> bool:
        """The same of what `digest_of` gave."""
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
